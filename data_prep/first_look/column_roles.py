"""Which column of the training table is which: target, group, object, date, classes.

A column that nobody can tell is asked for, with what there is to choose from. What is
chosen by its name or by its cells is told with the reason.

Shapes: N rows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from data_prep.errors import UserError
from data_prep.first_look.columns import Column, look_at
from data_prep.first_look.id_columns import IdTable
from data_prep.first_look.table_roles import NONE, Roles
from data_prep.folds import MIN_ROWS

TARGET_NAMES = frozenset(["target", "label", "labels", "class", "y", "category"])
OBJECTS = """
    object house home listing property item product specimen patient case building
    vehicle car animal plant work
"""
GROUPS = """
    group series photo subject person user session scene site source video album
    sequence slide author owner
"""
OBJECT_NAMES = frozenset(OBJECTS.split())
GROUP_NAMES = OBJECT_NAMES | frozenset(GROUPS.split())
CLASSES = "classes"  # the flag that names a target of classes
LEAST_GROUPS = 6  # two for each of three folds
MOST_TASKS = 3  # classes beside the target: each is a head, and weighs in the loss


@dataclass(frozen=True, kw_only=True)
class ColumnRoles:
    """The columns by their role, each with the reason.

    Attributes:
        target: What is to be predicted.
        target_kind: ``numeric`` or ``classes``; None: there is none.
        group: What no fold tears.
        object: What several pictures show, which share its label.
        date: Year or date.
        classes: Further columns of classes, to be learned beside the target.
        reasons: Why, by role.
    """

    target: Column | None = None
    target_kind: str | None = None
    group: Column | None = None
    object: Column | None = None
    date: Column | None = None
    classes: Sequence[Column] = ()
    reasons: dict[str, str] = field(default_factory=dict)


def assign_columns(roles: Roles, named: dict[str, str | None]) -> ColumnRoles:
    """Say which column of the training table is which.

    Args:
        roles: The tables.
        named: The user's ``target``, ``classes``, ``group``, ``object`` and ``date``;
            ``none``: there is none; None: to be told. Classes are a target, too.

    Raises:
        UserError: The target cannot be told, or has problems; a column is not there.
    """
    train = roles.train
    if train is None:
        return ColumnRoles()
    reasons: dict[str, str] = {}
    chosen: dict[str, Column] = {}
    decided = set()
    for flag, name in named.items():
        if name is None:
            continue
        role = "target" if flag == CLASSES else flag
        decided.add(role)
        if name != NONE or NONE in train.names:
            chosen[role] = train.column(name, f"--{flag}")
            reasons[role] = f"by --{flag}"

    def choose(
        role: str, tell: Callable[[Sequence[Column]], tuple[Column, str] | None]
    ) -> None:
        if role not in decided:
            taken = {column.name for column in chosen.values()}
            free = [column for column in train.columns if column.name not in taken]
            if picked := tell(free):
                chosen[role], reasons[role] = picked

    choose("target", lambda free: _target(free, roles))
    choose("date", _date)
    target = chosen.get("target")
    choose("object", lambda free: _object(free, roles, target))
    thing = chosen.get("object")
    choose("group", lambda free: _group(free, thing))
    declared = CLASSES if named.get(CLASSES) else None
    target_kind = _kind_of(roles, target, reasons, declared)
    taken = {column.name for column in chosen.values()}
    classes = [
        column
        for column in _by_group(train, chosen.get("group") or thing)
        if column.name not in taken and column.is_class_like and target_kind
    ]
    return ColumnRoles(
        target=target,
        target_kind=target_kind,
        group=chosen.get("group"),
        object=thing,
        date=chosen.get("date"),
        classes=sorted(classes, key=lambda column: -column.n_rows)[:MOST_TASKS],
        reasons=reasons,
    )


def _by_group(train: IdTable, group: Column | None) -> Sequence[Column]:
    """Count words once for each group or object, and not for each of its pictures.

    A street that many pictures of two houses have cannot be learned for other houses.

    Args:
        train: The training table.
        group: What no fold tears; None: nothing.
    """
    if group is None:
        return train.columns
    cells, has_group = train.cells, train.cells[group.name].notna()

    def counted(column: Column) -> Column:
        is_again = has_group & cells.duplicated([group.name, column.name])
        return look_at(cells.loc[~is_again, column.name], column.name)

    return [
        counted(column) if column.is_class_like else column for column in train.columns
    ]


def _target(columns: Sequence[Column], roles: Roles) -> tuple[Column, str] | None:
    """Tell the target by the sample, its name, or because nothing else is left.

    Raises:
        UserError: It cannot be told.
    """
    assert roles.train is not None
    if roles.sample:
        shared = [c for c in columns if c.name in roles.sample.names]
        if len(shared) == 1:
            return shared[0], f"the column of {roles.sample.path.name}"
    by_name = [column for column in columns if column.name.lower() in TARGET_NAMES]
    if len(by_name) == 1:
        return by_name[0], "by its name"
    if roles.test:
        hidden = [c for c in columns if c.name not in roles.test.names]
        if len(hidden) == 1:
            return hidden[0], f"the one column that {roles.test.path.name} lacks"
    usual = [c for c in columns if not c.is_date and not _is_named(c.name, GROUP_NAMES)]
    if len(usual) == 1:
        return usual[0], f"the one column of {roles.train.path.name} it could be"
    listed = ", ".join(f"{column.name} ({column.text})" for column in columns[:12])
    listed += ", ..." * (len(columns) > 12)
    if not columns:
        raise UserError(
            f"{roles.train.path} has no column beside {roles.train.id_column!r}, so"
            " there is nothing to predict; add one, or write --target none: features"
            " and neighbours need no label"
        )
    example = (usual or columns)[0].name
    raise UserError(
        f"{roles.train.path}: which column is to be predicted cannot be told; there are"
        f" {listed}; write --target {example}, or --target none"
    )


def _date(columns: Sequence[Column]) -> tuple[Column, str] | None:
    dates = [column for column in columns if column.is_date]
    if not dates:
        return None
    more = f"; dates too: {', '.join(c.name for c in dates[1:])}" if dates[1:] else ""
    return dates[0], f"{dates[0].text}{more}"


def _group(
    columns: Sequence[Column], thing: Column | None
) -> tuple[Column, str] | None:
    """Tell the group by name or cells; of several the coarsest, which is safest.

    Args:
        columns: Those without a role.
        thing: The object, which is a group already: only a coarser one adds to it.
    """
    most = thing.n_values - 1 if thing else math.inf
    shared = [
        column
        for column in columns
        if column.n_shared
        and LEAST_GROUPS <= column.n_values <= most
        and not column.is_date
    ]
    by_name = [c for c in shared if _is_named(c.name, GROUP_NAMES)]
    candidates = by_name or [column for column in shared if column.is_joining]
    if not candidates:
        return None
    first, *finer = sorted(candidates, key=lambda column: column.n_values)
    reason = (
        f"{first.n_values:,} values, {first.n_shared:,} of them with several pictures:"
        " those stay in one fold"
    )
    if finer:
        reason += (
            f"; {', '.join(column.name for column in finer)} could be it too, and"
            f" {first.name} is the coarsest"
        )
    return first, reason


def _is_named(name: str, names: frozenset[str]) -> bool:
    """Tell whether a name is one of some, as it is or with ``_id`` after it."""
    plain = name.lower().removesuffix("id").rstrip("_- ")
    return plain in names or plain.removesuffix("s") in names


def _kind_of(
    roles: Roles,
    target: Column | None,
    reasons: dict[str, str],
    declared: str | None,
) -> str | None:
    """Tell numbers from classes as the preparation does, but for two whole numbers.

    Those are classes unless the sample has fractions, or the user says what they are.

    Raises:
        UserError: The cells have problems.
    """
    train, sample = roles.train, roles.sample
    if target is None or train is None:
        return None
    from data_prep.tables.target import read_target

    _, kind, problem = read_target(train.cells[target.name], target.name, declared)
    if problem:
        # --classes is written into [data] only later
        problem = problem.replace(', take target_kind = "classes" out of [data]', "")
        raise UserError(f"{train.path}: {problem}; --target names another column")
    if declared:
        reasons["target_kind"] = f"by --{declared}"
        return kind
    if target.is_few_whole_numbers and sample and target.name in sample.names:
        example = sample.column(target.name, "--target")
        if example.is_number and not example.is_whole:
            reasons["target_kind"] = f"{sample.path.name} has {example.low}"
            return kind
    return "classes" if target.is_few_whole_numbers and target.n_values == 2 else kind


def _object(
    columns: Sequence[Column], roles: Roles, target: Column | None
) -> tuple[Column, str] | None:
    """Tell what several pictures show, which share its label.

    Its name must say so, most of its values have several pictures, all with one label,
    and rows to predict have it too. A sample of pictures asks for one prediction each.
    """
    if target is None or roles.train is None or roles.sample:
        return None
    for column in columns:
        is_likely = _is_named(column.name, OBJECT_NAMES) and not column.is_date
        if not is_likely or column.n_values < MIN_ROWS:
            continue
        is_lacking = roles.test and column.name not in roles.test.names
        if is_lacking or 2 * column.n_shared < column.n_values:
            continue
        labels = roles.train.cells.groupby(column.name)[target.name].nunique()
        if labels.max() == 1:
            return column, (
                f"{column.n_values:,} of them in {column.n_rows:,} pictures, and all"
                f" pictures of one have the same {target.name}: one prediction for"
                " each, none torn by folds; for one of each picture call it group"
            )
    return None
