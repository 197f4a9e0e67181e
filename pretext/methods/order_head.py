"""The head of a jigsaw whose tiles are looked at one by one.

Nothing here or in the backbone may tell the tiles of a picture apart but their content.
The backbone sees all tiles of all pictures as one batch and does not know which came
first; where it normalises by that batch, every tile is divided by the same numbers, so
an exchange of two tiles exchanges their features and changes nothing else. The head has
no batch normalisation. The order enters with the concatenation alone.
"""

from torch import Tensor, nn

TILE_WIDTH, ORDER_WIDTH = 128, 512


class OrderHead(nn.Module):
    """From the features of T tiles to the logits of P orders.

    Source: Noroozi & Favaro 2016, arXiv 1603.09246, figure 3 (fc6 to fc8).
    Differs: narrower, without dropout.

    Args:
        width: D, of the features.
        n_tiles: T.
        n_orders: P.
    """

    def __init__(self, width: int, n_tiles: int, n_orders: int) -> None:
        super().__init__()
        self.tile = nn.Sequential(nn.Linear(width, TILE_WIDTH), nn.ReLU())
        self.order = nn.Sequential(
            nn.Unflatten(0, (-1, n_tiles)),
            nn.Flatten(1),
            nn.Linear(n_tiles * TILE_WIDTH, ORDER_WIDTH),
            nn.ReLU(),
            nn.Linear(ORDER_WIDTH, n_orders),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Give the (B, P) logits of (B * T, D) features."""
        logits: Tensor = self.order(self.tile(features))
        return logits
