"""Forests and the ratio as named arrays of a model file, and back, checked: a file is data from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysynth.errors import ModelFileError
from raysynth.files.model_file import under
from raysynth.methods.trees.boosting import MOST_LEAVES, BoostedTrees
from raysynth.methods.trees.columns import ColumnView
from raysynth.methods.trees.corrections import Correction, groups_of
from raysynth.methods.trees.forest import HIGHEST, Forest, Score
from raysynth.methods.trees.located import Location, ranks_without
from raysynth.methods.trees.ratio import MOST_EACH, MOST_GROUPS, Ratio

_STORED = {"roots": np.int32, "feature": np.int16, "threshold": np.int32, "left": np.int32}
_STORED_TOO = {"start": np.int32, "stop": np.int32, "codes": np.uint16, "keep": np.float32}
_BOOSTED: dict[str, Any] = {
    "feature": np.int16,
    "threshold": np.uint8,
    "left": np.int32,
    "value": np.float32,
    "roots": np.int32,
}


def to_state(forests: Sequence[Forest], order: Sequence[int]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON values and named arrays that `from_state` reads."""
    arrays: dict[str, np.ndarray] = {}
    for c, forest in enumerate(forests):
        own: dict[str, np.ndarray] = {k: getattr(forest, k).astype(t) for k, t in (_STORED | _STORED_TOO).items()}
        if set(forest.inputs) != set(order[: order.index(c)]):
            own["inputs"] = np.array(forest.inputs, np.int32)
        for i, places in enumerate(forest.orders):
            if places is not None:
                own[f"order.{i}"] = places
        for s, score in enumerate(forest.scores):
            own[f"score.{s}.ends"] = np.array([score.low, score.high])
            own[f"score.{s}.rank"] = score.rank
            own[f"score.{s}.tables"] = np.concatenate(score.tables).astype(np.float32)
            if score.correction is not None:
                trees = score.correction.trees
                own |= {f"score.{s}.boosted.{k}": getattr(trees, k).astype(t) for k, t in _BOOSTED.items()}
        if forest.location is not None:
            own |= _location_arrays(forest.location)
        arrays |= {f"{c}.{name}": a for name, a in own.items()}
    return {"order": list(order), "scores": [len(f.scores) for f in forests]}, arrays


def from_state(
    meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], columns: Sequence[ColumnView]
) -> tuple[tuple[Forest, ...], tuple[int, ...]]:
    """The forests and the order of the columns; raises `ModelFileError` where they do not fit the columns."""
    order = tuple(int(c) for c in meta["order"])
    if sorted(order) != list(range(len(columns))) or len(meta["scores"]) != len(columns):
        raise _broken("its order does not name each column once")
    forests: list[Forest | None] = [None] * len(columns)
    for place, column in enumerate(order):
        own = under(f"{column}.", arrays)
        forest = _forest(own, _inputs(own, order[:place]), int(meta["scores"][column]), columns, columns[column])
        _check(forest, columns[column].cardinality)
        forests[column] = forest
    return tuple(f for f in forests if f is not None), order


def _inputs(own: Mapping[str, np.ndarray], before: tuple[int, ...]) -> tuple[int, ...]:
    """The columns that a forest looks at: all before it where none are named."""
    if "inputs" not in own:
        return before
    inputs = tuple(int(c) for c in own["inputs"].ravel())
    if not inputs or len(set(inputs)) < len(inputs) or not set(inputs) <= set(before):
        raise _broken("a column is drawn from one that is not drawn before it")
    return inputs


def _forest(
    own: Mapping[str, np.ndarray],
    inputs: tuple[int, ...],
    n_scores: int,
    columns: Sequence[ColumnView],
    view: ColumnView,
) -> Forest:
    sizes = [columns[c].cardinality for c in inputs]
    orders = tuple(own.get(f"order.{i}") for i in range(len(inputs)))
    for places, size in zip(orders, sizes, strict=True):
        if places is not None and (places.shape != (size,) or places.dtype.kind not in "iu"):
            raise _broken("an order of categories has another length than the column")
    scores = []
    for s in range(n_scores):
        flat, ends, rank = (own[f"score.{s}.{name}"] for name in ("tables", "ends", "rank"))
        fits = flat.shape == (sum(sizes),) and ends.shape == (2,) and rank.ndim == 1 and len(rank) > 0
        if not (fits and np.isfinite(flat).all() and np.isfinite(ends).all() and ends[0] < ends[1]):
            raise _broken("a score does not fit its columns")
        tables = tuple(np.split(flat.astype(np.float32), np.cumsum(sizes)[:-1]))
        correction = None
        if f"score.{s}.boosted.roots" in own:
            trees = _boosted(under(f"score.{s}.boosted.", own), len(inputs))
            groups = tuple(groups_of(columns[c], order) for c, order in zip(inputs, orders, strict=True))
            correction = Correction(trees, groups)
        scores.append(Score(tables, float(ends[0]), float(ends[1]), rank, correction))
    stored = _stored(own, {**_STORED, **_STORED_TOO})
    _check_lengths(stored, "feature", "threshold", "left", "start", "stop", "keep")
    if not len(stored["feature"]):
        raise _broken("its arrays of nodes are empty")
    location = _location(own, sizes, view) if "location.cells" in own else None
    run = view.run if location is None else None
    return Forest(inputs, orders, tuple(scores), parent=_parents(stored), run=run, location=location, **stored)


def _location_arrays(location: Location) -> dict[str, np.ndarray]:
    places = list(location.tables)
    return {
        "location.cells": np.stack([location.low, location.high]),
        "location.spikes": location.spikes,
        "location.of_values": np.array([location.of_values], np.uint8),
        "location.places": np.array(places, np.int32),
        "location.tables": np.concatenate([location.tables[p] for p in places]),
    }


def _location(own: Mapping[str, np.ndarray], sizes: Sequence[int], view: ColumnView) -> Location:
    """A location of a file, where it fits the column and its inputs."""
    cells, spikes, places, flat = (own[f"location.{name}"] for name in ("cells", "spikes", "places", "tables"))
    if view.ranks is None or view.middle is None:
        raise _broken("a column without numbers has a location")
    by_place = places.dtype.kind in "iu" and places.ndim == 1 and len(set(places.tolist())) == len(places) > 0
    if not by_place or places.min() < 0 or places.max() >= len(sizes):
        raise _broken("a location is made of no inputs of its column")
    of_places = [sizes[p] for p in places.tolist()]
    if flat.shape != (sum(of_places),) or not np.isfinite(flat).all():
        raise _broken("a location does not fit its inputs")
    edges = cells.T.ravel()
    is_pair = cells.ndim == 2 and len(cells) == 2 and cells.shape[1] > 0
    if not is_pair or not np.isfinite(edges).all() or (np.diff(edges) < 0).any():
        raise _broken("its residuals are in no order")
    if spikes.dtype.kind not in "iu" or spikes.ndim != 1 or (np.diff(spikes.astype(int)) <= 0).any():
        raise _broken("its spikes are in no order")
    if len(spikes) and not 0 <= spikes.min() <= spikes.max() < view.cardinality - 1 > len(spikes):
        raise _broken("a spike is none of its column's codes")
    tables = dict(zip(places.tolist(), np.split(flat, np.cumsum(of_places)[:-1]), strict=True))
    of_values = bool(own["location.of_values"].any())
    ranks = ranks_without(view, spikes)
    return Location(tables, of_values, cells[0], cells[1], spikes.astype(np.uint16), ranks, view.middle)


def _parents(stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """Parent (M,) int32 of each node; a root is its own."""
    inner, size = np.flatnonzero(stored["feature"] >= 0), len(stored["feature"])
    left = stored["left"][inner].astype(np.int64)
    if len(inner) and (left.min() <= 0 or left.max() + 1 >= size):
        raise _broken("a node's children are none of its nodes")
    parent = np.arange(size, dtype=np.int32)
    parent[left] = parent[left + 1] = inner
    children = np.concatenate([left, left + 1])
    roots = np.flatnonzero(parent == np.arange(size))
    if len(np.unique(children)) != len(children) or not np.array_equal(roots, stored["roots"]):
        raise _broken("a node has two parents, or none")
    return parent


def _check(forest: Forest, cardinality: int) -> None:
    """Indices in range, so that no draw reads beyond an array, and no walk is endless."""
    n_inputs = len(forest.inputs) + len(forest.scores) + (forest.location is not None)
    if forest.location is not None:
        cardinality = len(forest.location.low) + len(forest.location.spikes) + 1
    if (forest.threshold[forest.feature < 0] != HIGHEST).any():
        raise _broken("a leaf has a threshold")
    start, stop = forest.start, forest.stop
    if forest.feature.max() >= n_inputs or forest.feature.min() < -1 or not len(forest.roots):
        raise _broken("a node splits by a column that is none of its inputs")
    if (start < 0).any() or (stop <= start).any() or (stop > len(forest.codes)).any():
        raise _broken("a node without counts")
    leaf = np.sort(start[forest.feature < 0])
    ends = np.sort(stop[forest.feature < 0])
    if leaf[0] != 0 or ends[-1] != len(forest.codes) or not np.array_equal(leaf[1:], ends[:-1]):
        raise _broken("its leaves do not divide the counts")
    if forest.codes.max() >= cardinality:
        raise _broken("a leaf holds a code that its column has not")
    keep = forest.keep
    if not (np.isfinite(keep).all() and (keep >= 0).all() and (keep <= 1).all() and (keep[forest.roots] == 1).all()):
        raise _broken("a weight is no probability")


def _stored(own: Mapping[str, np.ndarray], forms: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of nodes, each a line of its type."""
    stored = {name: own[name] for name in forms}
    if any(stored[name].ndim != 1 or stored[name].dtype != form for name, form in forms.items()):
        raise _broken("an array of nodes has another form")
    return stored


def _check_lengths(stored: Mapping[str, np.ndarray], *names: str) -> None:
    if len({len(stored[name]) for name in names}) != 1:
        raise _broken("its arrays of nodes differ in length")


# ---- the ratio -------------------------------------------------------------------------------------------------------


def ratio_state(ratio: Ratio | None, called: str = "ratio") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON values and named arrays, all under a name, that `ratio_from` reads."""
    if ratio is None:
        return {}, {}
    arrays = {f"{called}.{name}": getattr(ratio.trees, name).astype(form) for name, form in _BOOSTED.items()}
    for c, (group, *pair) in enumerate(zip(ratio.group, ratio.margins, ratio.shares, strict=True)):
        arrays |= {f"{called}.group.{c}": group, f"{called}.margin.{c}": np.stack(pair)}
    return {called: {"offset": ratio.offset, "each": ratio.each, "known": list(ratio.known)}}, arrays


def ratio_from(
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    columns: Sequence[ColumnView],
    order: Sequence[int],
    called: str = "ratio",
) -> Ratio | None:
    """A ratio of a model file; None in one without. Raises `ModelFileError` where it does not fit the columns."""
    if called not in meta:
        return None
    own, said = under(f"{called}.", arrays), meta[called]
    group, pairs = (tuple(own[f"{name}.{c}"] for c in range(len(columns))) for name in ("group", "margin"))
    if any(g.shape != (v.cardinality,) or g.dtype != np.uint8 for g, v in zip(group, columns, strict=True)):
        raise _broken("groups of the ratio are not of the columns' codes")
    for pair, g in zip(pairs, group, strict=True):
        fits = pair.ndim == 2 and len(pair) == 2 and g.max() < pair.shape[1] <= MOST_GROUPS
        if not fits or not np.isfinite(pair).all():
            raise _broken("margins of the ratio are not of its groups")
    offset, each, known = float(said["offset"]), float(said["each"]), tuple(int(c) for c in said["known"])
    if not (np.isfinite(offset) and 1.0 <= each <= MOST_EACH and set(known) == set(order[: len(known)])):
        raise _broken("numbers of the ratio are out of range")
    margins, shares = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
    return Ratio(_boosted(own, len(columns)), group, margins, shares, offset, each, known)


def _boosted(own: Mapping[str, np.ndarray], n_columns: int) -> BoostedTrees:
    """Trees whose columns exist, whose children come after their parent, of leaves as many as are written at most."""
    stored = _stored(own, _BOOSTED)
    _check_lengths(stored, "feature", "threshold", "left", "value")
    feature, left, roots = stored["feature"], stored["left"], stored["roots"]
    if (feature < -1).any() or (feature >= n_columns).any():
        raise _broken("a node of the ratio has no such column")
    _parents(stored)
    inner, tree = np.flatnonzero(feature >= 0), np.searchsorted(roots, np.arange(len(feature)), side="right")
    if (left[inner] <= inner).any() or (tree[left[inner] + 1] != tree[inner]).any():
        raise _broken("a node's children do not come after it, or are of another tree")
    if np.bincount(tree[feature < 0]).max(initial=0) > MOST_LEAVES:
        raise _broken("a tree of the ratio has more leaves than any that was written")
    if not np.isfinite(stored["value"]).all():
        raise _broken("a leaf's value is no number")
    return BoostedTrees(**stored)


def _broken(what: str) -> ModelFileError:
    return ModelFileError(f"the model file's trees are inconsistent: {what}; refit the model")
