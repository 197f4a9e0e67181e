"""The networks of the neural stackers, as torch modules.

The views of a picture have no order, so ``cnn1d`` and ``cnn2d`` give the same answer in
whatever order they come:

- ``cnn1d`` convolves along the views with the outputs as channels and a kernel of one
  view: the same layer reads each view, and the mean and the maximum of what it gives
  are kept. Outputs are channels because a date has nothing in common with a word, so no
  kernel could move from one to the other.
- ``cnn2d`` reads a picture of V rows and F columns. Each output's views are sorted
  first, so that row v is its v-th smallest; a kernel of all rows and three neighbouring
  outputs then learns a statistic such as the mean, the range or the maximum.
- ``tabm`` is TabM (Gorishniy, Kotelnikov and Babenko, "TabM: advancing tabular deep
  learning with parameter-efficient ensembling", ICLR 2025), by its authors' package.

Only the child process of ``stacking.models.neural`` imports this: it loads torch.

Shapes: B rows, C columns, V views, F outputs of the nets that are stacked, D answers,
E answers of each network (the members of TabM; of the others one), H hidden units.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Units of the first layer: each reads all columns, one view, or a patch of the picture.
FIRST = {"mlp": 32, "cnn1d": 16, "cnn2d": 6}
HIDDEN = 16
WIDTH = 3  # outputs under the kernel of cnn2d
TABM_MEMBERS, TABM_HIDDEN, TABM_BLOCKS = 16, 64, 2


class Network(nn.Module):
    """A network that standardises what it reads.

    Args:
        kind: ``mlp``, ``cnn1d``, ``cnn2d`` or ``tabm``.
        input_shape: (C,), or (V, F) for ``cnn1d`` and ``cnn2d``.
        n_outputs: D.

    Attributes:
        center: (C or F,) mean of each column or output.
        scale: Its standard deviation; 1 where it does not vary.
        offset: (D,) mean of the target; 0 of classes.
        spread: (D,) its standard deviation; 1 of classes.
    """

    center: Tensor
    scale: Tensor
    offset: Tensor
    spread: Tensor

    def __init__(self, kind: str, input_shape: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        self.body, self.output = _layers(kind, input_shape, n_outputs)
        # In float64: an offset of 1e9 leaves no digit of a float32.
        inputs, outputs = torch.ones(input_shape[-1]).double(), torch.ones(n_outputs)
        self.register_buffer("center", 0 * inputs)
        self.register_buffer("scale", inputs)
        self.register_buffer("offset", 0 * outputs.double())
        self.register_buffer("spread", outputs.double())

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, E, D) standardised numbers or logits of (B, C) or (B, V, F) rows."""
        standard = (x - self.center) / self.scale
        dtype = next(self.body.parameters()).dtype
        outputs: Tensor = self.output(self.body(standard.to(dtype)))
        return outputs if outputs.ndim == 3 else outputs[:, None]


class MeanAndMax(nn.Module):
    """Keep the mean and the maximum over the views."""

    def forward(self, x_BVH: Tensor) -> Tensor:
        """Give (B, 2H) of (B, V, H): the H means, then the H maxima."""
        return torch.cat([x_BVH.mean(1), x_BVH.amax(1)], dim=-1)


class SortedPatches(nn.Module):
    """Sort the views of each output, then cut patches of all views and some outputs.

    A linear layer on the patches is a convolution; as one large product it is faster.
    """

    def forward(self, x_BVF: Tensor) -> Tensor:
        """Give (B, F, V * WIDTH)."""
        x_BFV = x_BVF.sort(dim=1).values.transpose(1, 2)
        padded = functional.pad(x_BFV, (0, 0, WIDTH // 2, WIDTH // 2))
        return padded.unfold(1, WIDTH, 1).flatten(2)


def _layers(
    kind: str, input_shape: Sequence[int], n_outputs: int
) -> tuple[nn.Module, nn.Module]:
    """Make the layers of a network, and its last one."""
    n_inputs = input_shape[-1]
    if kind == "tabm":
        import tabm  # an extra

        # tabm.TabM of these parts uses an operation that torch.vmap has no rule for.
        backbone = tabm.make_tabm_backbone(
            d_in=n_inputs,
            n_blocks=TABM_BLOCKS,
            d_block=TABM_HIDDEN,
            dropout=0.1,
            k=TABM_MEMBERS,
            start_scaling_init="random-signs",
            start_scaling_init_chunks=[1] * n_inputs,
        )
        body = nn.Sequential(tabm.EnsembleView(k=TABM_MEMBERS), backbone)
        return body, tabm.LinearEnsemble(TABM_HIDDEN, n_outputs, k=TABM_MEMBERS)
    units = FIRST[kind]
    readers = {
        "mlp": [nn.Linear(n_inputs, units), nn.ReLU()],
        "cnn1d": [nn.Linear(n_inputs, units), nn.ReLU(), MeanAndMax()],
        "cnn2d": [
            SortedPatches(),
            nn.Linear(input_shape[0] * WIDTH, units),
            nn.ReLU(),
            nn.Flatten(),
        ],
    }
    n_read = {"mlp": units, "cnn1d": 2 * units, "cnn2d": n_inputs * units}[kind]
    body = nn.Sequential(*readers[kind], nn.Linear(n_read, HIDDEN), nn.ReLU())
    for layer in body:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return body, nn.Linear(HIDDEN, n_outputs)
