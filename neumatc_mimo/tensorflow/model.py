"""The trained models of a scenario, read from the folder that PyTorch's ``save`` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.foundation.warnings import warn
from neumatc_mimo.storage.files import Location
from neumatc_mimo.storage.model_folder import read_model
from neumatc_mimo.tensorflow.links import Links, unpacked
from neumatc_mimo.tensorflow.mapping import Mapping
from neumatc_mimo.tensorflow.marks import Marks
from neumatc_mimo.tensorflow.operation import Operation, chosen
from neumatc_mimo.tensorflow.recognition import Found, Recognition
from neumatc_mimo.tensorflow.solver import Answers, Solver, counted, per_item

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class OperationModel:
    """One operation's mappings over a set of links, with what certifies them.

    :param settings: name and arguments of the operation
    :param mapping: the compact mappings of the aligned links
    :param links: the links
    :param marks: what the training proved of them
    :param tolerance: what the certificate required
    """

    settings: dict[str, Any]
    mapping: Mapping
    links: Links
    marks: Marks
    tolerance: Tolerance

    def marked_on(
        self, frequencies: NDArray[np.float64], tolerance: Tolerance | None
    ) -> NDArray[np.bool_]:
        """Subcarriers of a grid that are computed exactly, [num_links, F]: marked ones, all that
        the training did not see, and all that it did not prove to a tolerance.

        :param tolerance: None is that of the training
        """
        marked = self.marks.marked
        if tolerance is not None and tolerance != self.tolerance:
            marked = marked | self.marks.short_of(tolerance)
        grid = self.links.grid_frequencies()
        place = (frequencies - grid[0]) / self.links.subcarrier_spacing
        index = place.round().clip(0, len(grid) - 1).astype(np.int64)
        unseen = np.abs(place - index) >= 1e-3
        if unseen.any():
            warn(
                f"{int(unseen.sum())} of {len(unseen)} subcarriers are not on the trained grid, "
                "they are computed exactly."
            )
        return marked[:, index] | unseen


class ScenarioModel(Solver):
    """The trained models of a scenario, usable as the solver of any block.

    :param name: name of the scenario
    :param models: operation name → its model
    """

    def __init__(self, name: str, models: dict[str, OperationModel]) -> None:
        self.name, self.models = name, models

    @classmethod
    def load(cls, folder: Location) -> ScenarioModel:
        """Read a model folder; nothing in it is executed.

        :param folder: a path, or a URL of any file system that fsspec knows

        :raises FileNotFoundError: if there is no model in the folder
        :raises ValueError: if it is damaged or of a newer format, or of moving users
        """
        manifest, models = read_model(folder, _unpack)
        return cls(manifest["name"], models)

    def knows(self, operation: Operation, num_rows: int, num_cols: int) -> bool:
        links = self.models[operation.name].links if operation.name in self.models else None
        return links is not None and (num_rows, num_cols) == (links.num_rows, links.num_cols)

    def on(
        self,
        operation: Operation,
        frequencies: NDArray[np.float64],
        dtype: tf.DType,
        certify: str | None,
        tolerance: Tolerance | None,
    ) -> Answers:
        if operation.name not in self.models:
            raise ValueError(
                f"The model knows {', '.join(self.models)}; {operation.name} is needed."
            )
        model = self.models[operation.name]
        operation.check_served(model.settings)
        return ModelAnswers(model, operation, frequencies, dtype, certify, tolerance)

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{name}: {m.links.num_links} links of {m.links.num_rows} x {m.links.num_cols}"
            for name, m in self.models.items()
        )
        return f"ScenarioModel({self.name}: {parts})"


class ModelAnswers:
    """Answers on one grid: recalled for recognised items, exact for the others.

    Graphs have tensors of fixed shapes: each link has as many places for subcarriers that are
    computed exactly as the one with most of them.
    """

    def __init__(
        self,
        model: OperationModel,
        operation: Operation,
        frequencies: NDArray[np.float64],
        dtype: tf.DType,
        certify: str | None,
        tolerance: Tolerance | None,
    ) -> None:
        self._model, self._operation, self._certify = model, operation, certify
        self._tolerance = tolerance or model.tolerance
        self._recognition = Recognition(model.links, frequencies, dtype)
        self._mapping = model.mapping.on(frequencies, dtype.real_dtype)
        marked = model.marked_on(frequencies, tolerance)
        self._num_marked = tf.constant(marked.sum(1), tf.int64)
        most = int(marked.sum(1).max()) if certify == "link" else 0
        places = (~marked).argsort(1, kind="stable")[:, :most]
        self._places = tf.constant(places, tf.int32)
        self._is_marked = tf.constant(np.take_along_axis(marked, places, axis=1))

    def __call__(
        self, a: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
    ) -> tuple[Any, tf.Tensor]:
        known_shape = (self._model.links.num_rows, self._model.links.num_cols)
        if tuple(a.shape[2:]) != known_shape:
            raise ValueError(
                f"The model knows {self._operation.name} of {known_shape[0]} x {known_shape[1]}; "
                f"{a.shape[2]} x {a.shape[3]} is needed."
            )
        found = self._find(a, no, links)
        known = found.links >= 0
        num_known = tf.reduce_sum(tf.cast(known, tf.int64))

        def recalled() -> tuple[Any, tf.Tensor]:
            return self._recalled(a, no, found, known)

        def strangers() -> tuple[Any, tf.Tensor]:
            answer, refined = self._operation.exact(a, per_item(no))
            again = tf.math.count_nonzero(refined & ~known[:, None])
            return answer, counted(refined=again)

        def mixed() -> tuple[Any, tf.Tensor]:
            (answer, counts), (others, more) = recalled(), strangers()
            return chosen(known, answer, others), counts + more

        def some() -> tuple[Any, tf.Tensor]:
            return tf.cond(tf.reduce_any(known), mixed, strangers)

        answer, counts = tf.cond(tf.reduce_all(known), recalled, some)
        num_unknown = tf.cast(tf.size(known), tf.int64) - num_known
        return answer, counts + counted(
            links_recalled=num_known, links_unknown=num_unknown, exact=num_unknown * a.shape[1]
        )

    def _find(self, a: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None) -> Found:
        """Which links the items are; of those whose noise power was not trained none."""
        if self._certify is None:
            if links is None:
                raise ValueError("certify=None does not recognise links, give links.")
            found = self._recognition.named(links)
        else:
            found = self._recognition(
                a,
                links,
                any_gain=self._operation.any_gain(no),
                everywhere=self._certify == "link",
            )
        inside = self._model.mapping.axis.covers(_power(no, found))
        return found._replace(links=tf.where(inside, found.links, -1))

    def _recalled(
        self, a: tf.Tensor, no: tf.Tensor | None, found: Found, known: tf.Tensor
    ) -> tuple[Any, tf.Tensor]:
        """Answers as if all items were known, and how those of the known ones came about."""
        links = tf.maximum(found.links, 0)
        # A power that was not trained is that of an unknown item, and may not spoil the others.
        noise = tf.where(known, _power(no, found), 0)
        components = self._operation.from_stored(self._mapping(links, noise), noise)
        answer = self._operation.recalled(components, found, no)
        total = tf.reduce_sum(tf.cast(known, tf.int64)) * a.shape[1]
        if self._certify is None:
            return answer, counted(queried=total)
        if self._certify == "call":
            return self._proven(a, no, answer, known)
        patched = tf.reduce_sum(tf.where(known, tf.gather(self._num_marked, links), 0))
        refined = tf.constant(0, tf.int64)
        if self._places.shape[1]:
            answer, again = self._patched(a, no, answer, links)
            refined = tf.math.count_nonzero(again & known[:, None])
        return answer, counted(queried=total - patched, patched=patched, refined=refined)

    def _patched(
        self, a: tf.Tensor, no: tf.Tensor | None, answer: Any, links: tf.Tensor
    ) -> tuple[Any, tf.Tensor]:
        """Answers with exact ones at the links' marked places, and where double precision was
        needed, [B, places].
        """
        places, is_marked = tf.gather(self._places, links), tf.gather(self._is_marked, links)

        def at_places(z: tf.Tensor) -> tf.Tensor:
            return tf.gather(z, places, axis=1, batch_dims=1)

        exact, refined = self._operation.exact(at_places(a), per_item(no))
        part = chosen(is_marked, exact, tf.nest.map_structure(at_places, answer))
        items = tf.broadcast_to(tf.range(tf.shape(places)[0])[:, None], tf.shape(places))
        index = tf.stack([items, places], axis=-1)
        whole = tf.nest.map_structure(
            lambda whole, some: tf.tensor_scatter_nd_update(whole, index, some), answer, part
        )
        return whole, refined & is_marked

    def _proven(
        self, a: tf.Tensor, no: tf.Tensor | None, answer: Any, known: tf.Tensor
    ) -> tuple[Any, tf.Tensor]:
        """Answers with exact ones wherever a proof fails."""
        ok = self._operation.proven(a, answer, no, self._tolerance)
        failed = ~ok & known[:, None]
        none = tf.constant(0, tf.int64)

        def computed() -> tuple[Any, tf.Tensor]:
            exact, refined = self._operation.exact(a, per_item(no))
            return chosen(ok, answer, exact), tf.math.count_nonzero(refined & failed)

        answer, refined = tf.cond(tf.reduce_any(failed), computed, lambda: (answer, none))
        numbers = {"exact": tf.math.count_nonzero(failed), "refined": refined}
        return answer, counted(queried=tf.math.count_nonzero(ok & known[:, None]), **numbers)


def _power(no: tf.Tensor | None, found: Found) -> tf.Tensor:
    """Noise powers [B] of the links, float64: a common gain c turns no into no / c²."""
    if no is None:
        return tf.zeros_like(found.gain[:, 0])
    # Unknown items may have no gain at all.
    gain = tf.where(found.links >= 0, found.gain[:, 0], 1)
    return tf.cast(no, tf.float64) / gain**2


def _unpack(tensors: dict[str, Array], values: dict[str, Any]) -> OperationModel:
    """The model of one operation from its tensors and its part of the manifest."""

    def under(prefix: str) -> dict[str, Array]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    complexes = [name.removeprefix("links.") for name in values["complex"]]
    links = unpacked(under("links."), values["links"], complexes)
    _check_layouts(values, links.num_rows, links.num_cols)
    return OperationModel(
        values["operation"],
        Mapping(under("mapping."), values["mapping"]),
        links,
        Marks.of(under("marks.")),
        Tolerance(**values["tolerance"]),
    )


def _check_layouts(values: dict[str, Any], num_rows: int, num_cols: int) -> None:
    """Refuse components that are not stored as those of their operation are."""
    settings, layouts = values["operation"], values["mapping"]["layouts"]
    streams = settings.get("num_streams", 0)
    known = {
        "pseudo_inverse": [((num_cols, num_rows), "complex"), ((num_rows, num_rows), "hermitian")],
        "svd": [
            ((num_rows, streams), "complex"),
            ((streams,), "real"),
            ((num_cols, streams), "complex"),
        ],
    }
    found = [(tuple(layout["shape"]), layout["kind"]) for layout in layouts]
    if found != known.get(settings["name"], found):
        raise ValueError(f"Its components are {found}, {known[settings['name']]} are needed.")
