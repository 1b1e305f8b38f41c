"""The trained models of a scenario: recognise, query, save and load."""

from __future__ import annotations

import functools
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.foundation.warnings import Warned
from neumatc_mimo.kernels import applied as fused
from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.kernels.expansion import Expansion
from neumatc_mimo.mapping.axes import make_axis
from neumatc_mimo.mapping.basis import Table, make_basis
from neumatc_mimo.mapping.compact import CompactMapping, Latents, Layout, Trunk
from neumatc_mimo.model.recognition import (
    Recognised,
    Reference,
    is_link,
    probe_subcarriers,
    recognise,
    spots,
    spots_of_link,
)
from neumatc_mimo.operations import certified, make_operation
from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers.adapted import Adapted
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.storage.files import Location, local_path, replaced_folder, write_text
from neumatc_mimo.storage.model_folder import FORMAT_VERSION as FORMAT_VERSION
from neumatc_mimo.storage.model_folder import MANIFEST as MANIFEST
from neumatc_mimo.storage.model_folder import read_model
from neumatc_mimo.storage.shards import read_tensors
from neumatc_mimo.storage.tensor_file import write_tensors
from neumatc_mimo.tensors.memo import Memo
from neumatc_mimo.tensors.tracing import is_traced

T = TypeVar("T")

# Shared by all models: it keeps what depends on a grid alone.
_ADAPTED = Adapted()

# Latent tensors of a call's links are kept for the next one if they take no more bytes.
_KEPT_BYTES = 2**28


@dataclass(frozen=True, repr=False)
class OperationModel(Displayed):
    """One operation's mappings over a link set, with what certifies them.

    :param operation: the operation
    :param mapping: the compact mappings of the aligned links
    :param links: the links
    :param corrected: [num_links, num_stretches, fft_size] correction steps with the channel that
        grid subcarriers take, int8; stretches are those of the mapping's axis
    :param patches: [num_links, num_stretches, fft_size] grid subcarriers that are computed exactly
    :param unseen: [fft_size] grid subcarriers that were no samples nor collocation points
    :param tolerance: what the certificate asked for
    :param training: report of the training, plain values
    :param warned: the warnings that were given
    :param memo: what the next call of a block would compute again, by its kind: trunk values on a
        grid, latent tensors at a noise power, channels at the probes
    """

    operation: Operation
    mapping: CompactMapping
    links: LinkSet
    corrected: Tensor
    patches: Tensor
    unseen: Tensor
    tolerance: Tolerance
    training: dict[str, Any]
    memo: defaultdict[str, Memo] = field(
        # Not an argument: a model that another one is replaced by must not know its results.
        default_factory=lambda: defaultdict(lambda: Memo(2)),
        init=False,
        compare=False,
    )
    warned: Warned = field(default_factory=Warned, init=False, compare=False)

    def components(
        self, frequencies: Tensor, links: Tensor, no: Tensor, time: float = 0.0
    ) -> Components:
        """Certified components of the aligned links [l] at frequencies [F] in Hz, noise powers [l]
        and a time in seconds.

        Corrections and patches need the channel, which comes from the links' paths.
        """
        components = self.mapping.select(links)(frequencies, self.mapping.axis.value(no, time))
        index, _ = self.grid_index(frequencies)
        corrected, patched = self.marks(links, index, time)
        needed = ((corrected > 0) | patched).any(0)
        if not bool(needed.any()):
            return components
        a = self.links.channel(frequencies[needed], links, aligned=True, time=time)
        noise = no[:, None].to(a.real.dtype)
        few = tuple(c[:, needed] for c in components)
        few, _ = self.repaired(a, few, noise, corrected[:, needed], patched[:, needed])
        for c, value in zip(components, few, strict=True):
            c[:, needed] = value
        return components

    def repaired(
        self,
        a: Tensor,
        components: Components,
        no: Tensor | float,
        corrected: Tensor,
        exactly: Tensor,
    ) -> tuple[Components, Counts | None]:
        """Components [l, F, ...] repaired as marks tell, or, where marks only tell where to look,
        proven, and then how they came about.

        :param a: aligned channels [l, F, m, n]
        :param no: noise power, broadcastable to [l, F]
        :param corrected: correction steps, [l, F]
        :param exactly: which are computed exactly, [l, F]
        """
        operation = self.operation
        if not self.mapping.axis.margin_db:
            return certified.repair(operation, a, components, no, corrected, exactly), None
        where = ((corrected > 0) & ~exactly).nonzero(as_tuple=True)
        noise = certified.chosen_noise(no, exactly, where)
        poor, counts = tuple(c[where] for c in components), Counts()
        proven = certified.certify(operation, a[where], poor, noise, self.tolerance, counts)
        components = tuple(c.index_put(where, p) for c, p in zip(components, proven, strict=True))
        none = torch.zeros_like(exactly)
        return certified.repair(operation, a, components, no, none, exactly), counts

    def marks(self, links: Tensor, index: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Correction steps, and which are patched, of links [l] at grid subcarriers [F] and a time,
        [l, F] each.
        """
        stretch = self.mapping.axis.stretch(time)
        corrected = self.corrected[links, stretch][:, index]
        patched = self.patches[links, stretch][:, index]
        if self.mapping.axis.margin_db:
            # All are proven anew, and few of those that failed somewhere in the stretch fail again.
            return corrected.masked_fill(patched, 1), torch.zeros_like(patched)
        return corrected, patched

    def check(self, no: Tensor, time: float) -> None:
        """Refuse noise powers and times that were not trained.

        :raises ValueError: if there are any
        """
        if not bool(self.mapping.axis.covers(no, time).all()):
            raise ValueError(
                f"no reaches from {no.min().item():g} to {no.max().item():g} and time is "
                f"{time:g} s, the model was trained for {self.mapping.axis}."
            )

    def grid_index(self, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest grid subcarrier of frequencies [F], and whether they lie on the grid."""
        spacing, size = self.links.subcarrier_spacing, self.links.fft_size
        position = frequencies / spacing + size // 2
        index = position.round().clamp(0, size - 1)
        return index.long(), (position - index).abs() < 1e-3

    @property
    def num_bytes(self) -> int:
        """Bytes of the mappings."""
        return self.mapping.num_bytes

    def facts(self) -> Facts:
        return Facts(self.operation.name, self.figures())

    def figures(self) -> dict[str, str]:
        """Sizes, what is proven, and what training found, in words."""
        links, report = self.links, self.training
        values = {
            "links": f"{links.num_links} of {links.num_rows} x {links.num_cols}",
            "rank": str(self.mapping.trunk.rank),
            "asked for": f"{self.tolerance.quality_db:g} dB",
        }
        # Of the mapping alone, where it was not trained; not a number if that is nowhere.
        if report.get("error_median", 0.0) > 0:
            values["certificate (5 %)"] = f"{report['quality_5_percent_db']:.1f} dB"
            values["error (median)"] = f"{20 * math.log10(report['error_median']):.1f} dB"
        for name, marks in (("corrected", self.corrected), ("patched", self.patches)):
            values[name] = f"{100 * (marks > 0).double().mean().item():.2f} %"
        values["size"] = f"{self.num_bytes / 1e6:.3g} MB on {links.device}"
        return values

    def to(self, device: torch.device | str) -> OperationModel:
        """The model on another device."""
        return OperationModel(
            self.operation,
            self.mapping.to(device),
            self.links.to(device),
            self.corrected.to(device),
            self.patches.to(device),
            self.unseen.to(device),
            self.tolerance,
            self.training,
        )


@dataclass(eq=False, repr=False)
class ScenarioModel(Displayed, Solver):
    """The trained models of a scenario, usable as the solver of any block.

    :param name: name of the scenario
    :param models: operation name → its model
    :param scenario: what the models were trained on, plain values
    :param unknown: solver of links that are not recognised; None adapts to them where the exact
        result is dear (``Operation.adapts``), and computes it elsewhere
    """

    name: str
    models: Mapping[str, OperationModel]
    scenario: dict[str, Any] = field(default_factory=dict)
    unknown: Solver | None = None

    def query(
        self,
        operation: str,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        no: Tensor | float = 0.0,
        time: float = 0.0,
    ) -> Components:
        """Components of trained links at any frequency of the trained band, patches applied.

        :param operation: "pseudo_inverse" → (w,) with w [num_links, num_frequencies, M, K];
            "svd" → (u, s, v), [.., K, L], [.., L], [.., M, L]
        :param frequencies: Hz relative to the carrier, [num_frequencies]
        :param links: link indices; None means all
        :param no: noise power, linear, scalar or [num_links]; 0 is zero forcing
        :param time: seconds since the burst began; users that move were trained without noise

        :raises ValueError: for an unknown operation, or frequencies, noise powers or a time out of
            range
        """
        model = self._model(operation)
        frequencies = model.links.check_frequencies(frequencies)
        links = model.links.check_links(links)
        power = torch.as_tensor(no, dtype=torch.float64).expand(len(links))
        model.check(power, time)
        power = power.to(frequencies.device)
        components = model.components(frequencies, links, power, time)
        noise = power[:, None].float() if bool(power.any()) else 0.0
        rows = model.links.row_factors(frequencies, links, time).to(torch.complex64)
        answer = model.operation.answer(components, noise, rows)
        return model.operation.results(answer)

    def residual(
        self,
        operation: str,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        no: float = 0.0,
        time: float = 0.0,
    ) -> Tensor:
        """Relative residual of the answers, [num_links, num_frequencies]."""
        model = self._model(operation)
        frequencies = model.links.check_frequencies(frequencies)
        links = model.links.check_links(links)
        power = torch.full((len(links),), no, dtype=torch.float64)
        model.check(power, time)
        components = model.components(frequencies, links, power, time)
        a = model.links.channel(frequencies, links, aligned=True, time=time)
        return model.operation.residual(a, components, no)

    def knows(self, operation: Operation, num_rows: int, num_cols: int) -> bool:
        model = self.models.get(operation.name)
        return (
            model is not None
            and (num_rows, num_cols) == (model.links.num_rows, model.links.num_cols)
            and model.operation.serves(operation)
        )

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        model = self.models.get(operation.name)
        shape = channels.a.shape[-2:]
        if model is None or shape != (model.links.num_rows, model.links.num_cols):
            known = ", ".join(
                f"{name} of {m.links.num_rows} x {m.links.num_cols}"
                for name, m in self.models.items()
            )
            raise ValueError(
                f"The model knows {known}; {operation.name} of {shape[0]} x {shape[1]} was asked "
                "for."
            )
        if not model.operation.serves(operation):
            raise ValueError(
                f"The model knows {operation.name} of the settings {model.operation.settings()}; "
                f"{operation.settings()} were asked for."
            )
        if channels.trusted:
            channels = _named_channels(model, channels, certify)
        unused = () if certify == "call" else operation.unused
        unknown = self.unknown or (_ADAPTED if operation.adapts(*shape) else Exact())
        return ModelAnswers(model, channels, certify, tolerance, unknown, unused)

    def choosing(self, choose: Callable[[Solver], Solver]) -> ScenarioModel:
        return self if self.unknown else replace(self, unknown=choose(_ADAPTED))

    @property
    def knows_links(self) -> bool:
        return True

    def _model(self, operation: str) -> OperationModel:
        if operation not in self.models:
            raise ValueError(
                f'There is no model of "{operation}", known are {", ".join(self.models)}.'
            )
        return self.models[operation]

    def timing_advanced(self) -> ScenarioModel:
        """The model of the same links with timing advance, see ``LinkSet.timing_advanced``.

        Mappings are those of aligned links: they hold for any delays of the users.
        """
        models = {k: replace(m, links=m.links.timing_advanced()) for k, m in self.models.items()}
        return replace(self, models=models)

    @property
    def training(self) -> dict[str, dict[str, Any]]:
        """Training report of each operation."""
        return {name: model.training for name, model in self.models.items()}

    @property
    def num_bytes(self) -> int:
        """Bytes of all mappings."""
        return sum(model.num_bytes for model in self.models.values())

    def facts(self) -> Facts:
        size = {"size": f"{self.num_bytes / 1e6:.3g} MB"}
        return Facts(self.name, size | {k: model.figures() for k, model in self.models.items()})

    def save(self, folder: Location) -> Path | str:
        """Write safetensors and a JSON manifest to a folder, complete or not at all.

        Each operation's tensors go to one file; a training on several machines leaves more of them
        (:mod:`neumatc_mimo.storage.shards`), which :meth:`load` reads alike.

        :param folder: a path, or a URL of any file system that fsspec knows, "s3://bucket/model"

        :return: the path, or the URL as it was given
        :raises ValueError: if the folder holds files but no model, which would go with it
        :raises OSError: if the folder cannot be written
        """
        replaced_folder(folder, self._write, last=MANIFEST)
        return local_path(folder) or os.fspath(folder)

    def _write(self, folder: Path) -> None:
        """Write the files of a model into an empty folder of this machine."""
        operations = {}
        for name, model in self.models.items():
            tensors, operations[name] = pack_model(model)
            write_tensors(folder / f"{name}.safetensors", tensors)
        write_manifest(folder, self.name, self.scenario, operations)

    @classmethod
    def load(cls, folder: Location, device: str = "cpu") -> ScenarioModel:
        """Read a model folder; nothing in it is executed.

        :param folder: a path, or a URL as for :meth:`save`; its files are copied to this machine
            while they are read

        :raises FileNotFoundError: if there is no model in the folder
        :raises ValueError: if it is damaged or of a newer format
        :raises OSError: if it cannot be read, or was replaced while it was
        """
        manifest, models = read_model(
            folder,
            lambda source, operation: read_tensors(source, operation, device),
            unpack_model,
        )
        return cls(manifest["name"], models, manifest["scenario"])

    def check(self, scenario_fingerprint: str) -> None:
        """Refuse a scenario other than the one that the model was trained on."""
        mine = self.scenario.get("fingerprint")
        if mine != scenario_fingerprint:
            raise ValueError(
                f'The model of "{self.name}" was trained on other data (fingerprint {mine}, the '
                f"scenario has {scenario_fingerprint}); train again."
            )


class ModelAnswers(Answers):
    """Answers of one call: recalled for recognised items, another solver's for the others."""

    def __init__(
        self,
        model: OperationModel,
        channels: Channels,
        certify: str | None,
        tolerance: Tolerance | None,
        unknown: Solver,
        unused: Sequence[str] = (),
    ) -> None:
        self._own = Counts()
        self._model, self._channels, self._certify = model, channels, certify
        # Components that the caller does not use are not evaluated.
        self._used = tuple(name not in unused for name in model.operation.component_names)
        self._tolerance = tolerance or model.tolerance
        self._frequencies = frequencies = channels.frequencies.to(model.links.device)
        found = self._recognise()
        trusted = certify is not None
        items = torch.arange(channels.a.shape[0], device=channels.a.device)
        self._known = items[found.links >= 0] if trusted else items
        self._unknown = items[found.links < 0] if trusted else items[:0]
        if channels.trusted:
            self._own.links_trusted = len(self._known)
        else:
            self._own.links_recalled = len(self._known)
        self._rest: Answers | None = None
        self._factor: Latents | None = None
        if len(self._unknown):
            no = None if channels.no is None else channels.no[self._unknown]
            # A copy only where some are known.
            a = channels.a[self._unknown] if len(self._known) else channels.a
            others = Channels(a, channels.frequencies, no)
            self._rest = unknown.start(model.operation, others, certify, tolerance)
        if not len(self._known):
            return
        links = found.links[self._known]
        self._rows = self._factors(found, self._known)
        order = found.order[self._known]
        in_order = torch.arange(order.shape[1], device=order.device)
        self._order = None if not trusted or bool((order == in_order).all()) else order
        self._noise: Tensor | float = 0.0
        power = torch.zeros(len(links), dtype=torch.float64, device=links.device)
        if channels.no is not None:
            # A common gain c turns the problem into that of A at the noise power no / c^2.
            power = channels.no[self._known] / found.gain[self._known, 0].abs().square()
            self._noise = power[:, None].to(channels.a.real.dtype)
        # The second coordinate of the mapping.
        self._value, self._links = model.mapping.axis.value(power, channels.time), links
        self._few = len(links) * model.num_bytes <= _KEPT_BYTES * model.mapping.num_links
        select = functools.partial(model.mapping.select, links)
        self._mapping = self._kept("selected", (links,), select) if self._few else select()
        self._table = self._kept(
            "table",
            (frequencies,),
            lambda: model.mapping.trunk.table(model.mapping.coordinate(frequencies)),
        )
        self._factor = self._unevaluated()
        # A proof needs the components themselves.
        change = tuple if certify == "call" else self._part
        fold = functools.partial(self._mapping.at, self._value, change)
        key = (links, self._value, self._used, certify == "call")
        self._folded = self._kept("folded", key, fold) if self._few else fold()
        if certify == "link":
            self._repair(links)

    def _kept(self, kind: str, arguments: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What an earlier call with these arguments made; a trace makes it anew."""
        return make() if is_traced() else self._model.memo[kind](arguments, make)

    @property
    def counts(self) -> Counts:
        total = replace(self._own)
        if self._rest is not None:
            total.add(self._rest.counts)
            total.links_unknown = len(self._unknown) - total.links_adapted
        return total

    def finish(self) -> None:
        if self._rest is not None:
            self._rest.finish()

    def tile(self, subcarriers: slice) -> Any:
        operation, rest = self._model.operation, self._rest
        if rest is None:
            return self._recalled(subcarriers)
        others = rest.tile(subcarriers)
        if not len(self._known):
            return others
        known = self._recalled(subcarriers)
        return operation.merge([known, others], [self._known, self._unknown])

    @property
    def reads_channel(self) -> bool:
        proves = self._certify == "call" and not self._channels.trusted
        return proves or self._rest is not None

    def channel(self, subcarriers: slice, given: Tensor) -> Tensor:
        if not self._channels.trusted:
            return self._channels.a[:, subcarriers]
        links, frequencies = self._model.links, self._frequencies[subcarriers]
        time = self._channels.time
        return links.channel(frequencies, self._links, dtype=given.dtype, time=time)

    def entries(self, a: Tensor) -> int:
        if self._rest is not None:
            return super().entries(a)
        return max(self._folded.size // 2 * a.shape[0], 1)

    def _unevaluated(self) -> Latents | None:
        """The latent tensor of the component that fused kernels apply, which is then not evaluated;
        None where they cannot.
        """
        operation, channels = self._model.operation, self._channels
        names = operation.component_names
        if (
            not channels.products
            or self._certify == "call"
            or self._rest is not None
            or self._order is not None
            or operation.applied not in names
            or channels.a.dtype != torch.complex64
            or self._mapping.trunk.readout is not None
            or self._table.terms() is None
            or is_traced()
            or not fused.available(channels.a.device)
        ):
            return None
        index = names.index(operation.applied)
        if not self._used[index]:
            return None
        self._used = tuple(used and i != index for i, used in enumerate(self._used))
        self._factor_index = index
        fold = functools.partial(self._mapping.at, self._value, lambda folded: (folded[index],))
        key = (self._links, self._value)
        return self._kept("factor", key, fold) if self._few else fold()

    def applied(self, subcarriers: slice) -> Applied | None:
        if self._factor is None:
            return None
        terms = self._table.terms()
        assert terms is not None
        columns, values = (t[subcarriers] for t in terms)
        (layout,) = self._factor.layouts
        expansion = Expansion(columns, values, self._factor.rows, *layout.shape)

        def filters() -> Tensor:
            assert self._factor is not None
            return self._mapping.evaluate(self._table, subcarriers, self._factor)[0]

        if self._certify is None or not len(self._repaired_at):
            return Applied(expansion, filters)
        at, some = self._repaired_in(subcarriers)
        return Applied(expansion, filters, at, self._repaired_factor[:, some])

    def keep(self, name: str, subcarriers: slice, make: Callable[[Tensor], T], given: Tensor) -> T:
        if self._certify != "link" or self._rest is not None or not self._few or is_traced():
            return make(self.channel(subcarriers, given))
        # The links are those that were certified: what follows from them is what it was.
        links = (self._links, self._order, self._channels.time)
        start = (self._frequencies, *links, self._channels.a.dtype)
        known: dict[Any, T] = self._model.memo["derived"](start, dict)
        key = (name, subcarriers.start, subcarriers.stop)
        if key not in known:
            known[key] = make(self.channel(subcarriers, given))
        return known[key]

    def _recalled(self, subcarriers: slice) -> Any:
        """Answer for the known items."""
        operation = self._model.operation
        if self._certify == "call":
            components = certified.certify(
                operation,
                self._aligned(subcarriers),
                self._whole(self._table, subcarriers, self._folded),
                self._noise,
                self._tolerance,
                self._own,
            )
            return operation.answer(components, self._noise, self._rows[:, subcarriers])
        parts = self._evaluated(self._table, subcarriers, self._folded)
        if self._certify is None:
            self._own.queried += len(self._known) * parts[0].shape[1]
        else:
            self._put_repaired(parts, subcarriers)
        evaluated = iter(parts)
        full: Any = [next(evaluated) if used else None for used in self._used] + list(evaluated)
        if self._order is not None:
            full = operation.permute(full, self._order)
        return operation.answer(full, self._noise, self._rows[:, subcarriers])

    def _part(self, components: Components) -> Components:
        """Of the components those that are used, and what the operation derives from all."""
        full = self._model.operation.extended(components)
        used = self._used + (True,) * (len(full) - len(components))
        return tuple(c for c, wanted in zip(full, used, strict=True) if wanted)

    def _evaluated(self, table: Table, points: slice, folded: Latents) -> Components:
        """Components of the known items in the precision of the channel."""
        a = self._channels.a
        return tuple(
            c.to(a.dtype if c.is_complex() else a.real.dtype)
            for c in self._mapping.evaluate(table, points, folded)
        )

    def _whole(self, table: Table, points: slice, folded: Latents) -> Components:
        """All components, rows in the order of the given channel."""
        whole = self._evaluated(table, points, folded)
        if self._order is not None:
            whole = self._model.operation.permute(whole, self._order)
        return whole

    def _aligned(self, subcarriers: slice | Tensor) -> Tensor:
        """The given channels of the known items with the rows' gains and delays taken out."""
        if self._channels.trusted:
            links, frequencies = self._model.links, self._frequencies[subcarriers]
            dtype, time = self._channels.a.dtype, self._channels.time
            return links.channel(frequencies, self._links, aligned=True, dtype=dtype, time=time)
        a = self._channels.a[:, subcarriers]
        a = a if self._rest is None else a[self._known]
        return a.contiguous() / self._rows[:, subcarriers, :, None].to(a.dtype)

    def _repair(self, links: Tensor) -> None:
        """Correct and replace, once per call, what the certificate of the training tells to."""
        model, frequencies = self._model, self._frequencies
        corrected, patched, exactly, where = self._kept(
            "repairs",
            (frequencies, links, model.mapping.axis.stretch(self._channels.time)),
            lambda: _repairs(model, frequencies, links, self._channels.time),
        )
        self._own.corrected = int((corrected > 0).sum())
        self._own.patched = int(patched.sum())
        self._own.exact = int(exactly.sum()) - self._own.patched
        self._own.queried = exactly.numel() - int((exactly | (corrected > 0)).sum())
        self._repaired_at = where
        if len(where):
            repair = functools.partial(self._repaired_components, where, corrected, exactly)
            # Of trained subcarriers: the link is the one that was certified, and so are they.
            again = self._few and bool((exactly <= patched).all())
            key = (frequencies, links, self._value, self._order, self._channels.a.dtype)
            whole, counts = self._kept("repaired", key, repair) if again else repair()
            if counts is not None:
                self._own.corrected = counts.corrected
                self._own.queried += counts.queried
                self._own.exact += counts.exact
            self._repaired = self._part(whole)
            if self._factor is not None:
                self._repaired_factor = whole[self._factor_index]

    def _repaired_components(
        self, where: Tensor, corrected: Tensor, exactly: Tensor
    ) -> tuple[Components, Counts | None]:
        """Components at the subcarriers ``where``, see :meth:`OperationModel.repaired`."""
        mapping, operation = self._mapping, self._model.operation
        table = mapping.trunk.table(mapping.coordinate(self._frequencies[where]))
        repaired, counts = self._model.repaired(
            self._aligned(where),
            self._whole(table, slice(0, len(where)), mapping.at(self._value)),
            self._noise,
            corrected[:, where],
            exactly[:, where],
        )
        if self._order is not None:
            # Back, as the mapping's own: all of a tile are put in order together.
            repaired = operation.permute(repaired, self._order.argsort(-1))
        return repaired, counts

    def _put_repaired(self, components: Components, subcarriers: slice) -> None:
        """Write the repaired components of these subcarriers into the evaluated ones."""
        if not len(self._repaired_at):
            return
        at, some = self._repaired_in(subcarriers)
        if len(at):
            for c, value in zip(components, self._repaired, strict=True):
                c[:, at] = value[:, some]

    def _repaired_in(self, subcarriers: slice) -> tuple[Tensor, slice]:
        """Places in a tile that were repaired, and which of all of these they are."""
        at = self._repaired_at
        ends = torch.searchsorted(at, at.new_tensor([subcarriers.start, subcarriers.stop]))
        some = slice(*ends.tolist())
        return at[some] - subcarriers.start, some

    def _recognise(self) -> Recognised:
        model, channels = self._model, self._channels
        num_items, _, num_rows, _ = channels.a.shape
        if self._certify is None or channels.trusted:
            if channels.links is None:
                raise ValueError("certify=None is a pure query, it needs links.")
            links = channels.links
            order = torch.arange(num_rows, device=links.device).expand(num_items, -1)
            return Recognised(links, order, *model.links.row_terms(links, channels.time))
        probes = self._kept(
            "probes",
            (channels.a.shape[1], str(channels.a.device)),
            lambda: probe_subcarriers(channels.a.shape[1]).to(channels.a.device),
        )
        frequencies = self._frequencies[probes]
        if channels.links is not None and bool((channels.links >= model.links.num_links).any()):
            raise ValueError(
                f"links has the entry {int(channels.links.max())}, the model has links 0 to "
                f"{model.links.num_links - 1}."
            )
        dtype = channels.a.dtype
        reference = self._kept(
            "reference",
            (self._frequencies, dtype, channels.time),
            lambda: Reference.of(model.links, frequencies, dtype, channels.time),
        )
        a, any_gain = channels.a[:, probes], model.operation.free_gains(channels.no)
        # Channels that are bit by bit those of an earlier call are the links that they were then.
        found = self._kept(
            "recognised",
            (a, self._frequencies, channels.links, any_gain, channels.time),
            lambda: recognise(a, frequencies, reference, channels.links, any_gain=any_gain),
        )
        if self._certify == "link":
            found = self._seen_everywhere(found)
        # Rows in an order that the operation cannot follow make another channel.
        followed = model.operation.follows(found.order)
        found = replace(found, links=torch.where(followed, found.links, -1))
        power = torch.zeros(num_items, dtype=torch.float64, device=found.gain.device)
        if channels.no is not None:
            power = channels.no.to(found.gain.real) / found.gain.abs()[:, 0].square()
        inside = model.mapping.axis.covers(power, channels.time)
        if not bool((inside | (found.links < 0)).all()):
            _warn_of_noise(model, power, channels.time)
        return replace(found, links=torch.where(inside, found.links, -1))

    def _factors(self, found: Recognised, items: Tensor) -> Tensor:
        """Rows of the given channels over those of the aligned links, [num_items, F, K]."""
        key = (self._frequencies, found.delay[items], found.gain[items])
        return self._kept("rows", key, lambda: found.rows(self._frequencies, items))

    def _seen_everywhere(self, found: Recognised) -> Recognised:
        """Without the items that are the link at the probes only."""
        items = (found.links >= 0).nonzero()[:, 0]
        if not len(items):
            return found
        a, time = self._channels.a, self._channels.time
        frequencies, links = self._frequencies, self._model.links
        given = spots(a)[items]

        def check() -> Tensor:
            start = (frequencies, str(a.device), time)
            known: dict[int, Tensor] = self._model.memo["spots"](start, dict)
            chosen = found.links[items].tolist()
            for link in set(chosen) - set(known):
                known[link] = spots_of_link(links, link, frequencies, time)
            expected = torch.stack(
                [known[link][order] for link, order in zip(chosen, found.order[items], strict=True)]
            )
            same = is_link(given, expected, self._factors(found, items))
            return found.links.index_fill(0, items[~same], -1)

        few = given.nbytes <= _KEPT_BYTES
        key = (given, frequencies, time, found.links, found.order, found.gain, found.delay)
        return replace(found, links=self._kept("seen", key, check) if few else check())


def _named_channels(model: OperationModel, channels: Channels, certify: str | None) -> Channels:
    """Channels whose links are named, to be trusted; where the model does not know the noise power,
    the links' own instead, to compute with.
    """
    links, known = channels.links, model.links
    if certify is None or links is None:
        return channels
    if bool((links >= known.num_links).any()):
        raise ValueError(
            f"links has the entry {int(links.max())}, the model has links 0 to "
            f"{known.num_links - 1}."
        )
    if channels.no is None or bool(
        model.mapping.axis.covers(channels.no.double(), channels.time).all()
    ):
        return channels
    _warn_of_noise(model, channels.no, channels.time)
    own = known.channel(channels.frequencies, links, dtype=channels.a.dtype, time=channels.time)
    return replace(channels, a=own, trusted=False)


def _repairs(
    model: OperationModel, frequencies: Tensor, links: Tensor, time: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Correction steps [num_links, F], subcarriers that are patched and that are computed exactly,
    and the indices of all that are one of these for any link.
    """
    index, on_grid = model.grid_index(frequencies)
    low, high = model.links.band
    margin = model.links.subcarrier_spacing / 2
    if bool(((frequencies < low - margin) | (frequencies > high + margin)).any()):
        model.warned.once(
            "band",
            f"Some subcarriers lie outside the band from {low / 1e6:.4g} to {high / 1e6:.4g} MHz "
            f"that the model of {model.operation.name} was trained for: they are computed exactly. "
            "To have them queried, widen [grid] in the scenario and train again.",
        )
    corrected, patched = model.marks(links, index, time)
    patched, corrected = patched & on_grid, corrected * on_grid
    exactly = patched | ~on_grid
    return corrected, patched, exactly, (exactly | (corrected > 0)).any(0).nonzero()[:, 0]


def _warn_of_noise(model: OperationModel, no: Tensor, time: float) -> None:
    """Say that noise powers or a time lie outside what was trained."""
    model.warned.once(
        "noise",
        f"Noise powers of {no.min().item():g} to {no.max().item():g} at {time:g} s are not all "
        f"among {model.mapping.axis}, which the model of {model.operation.name} was trained for: "
        "the others are computed exactly. To have them queried, widen noise_db or the bursts in "
        "the scenario and train again.",
    )


def write_manifest(
    folder: Path, name: str, scenario: Mapping[str, Any], operations: Mapping[str, dict[str, Any]]
) -> Path:
    """Write the manifest that makes a folder of tensors a model.

    :param name: of the scenario
    :param scenario: what the models were trained on, plain values
    :param operations: values of each operation's model, as :func:`pack_model` returns them

    :raises OSError: if it cannot be written
    """
    manifest = {
        "format": FORMAT_VERSION,
        "name": name,
        "scenario": scenario,
        "operations": operations,
    }
    return write_text(folder / MANIFEST, json.dumps(manifest, indent=2))


# Tensors of a packed model that are the same for all links; the others have a row for each.
SHARED = frozenset({"unseen", "links.base_station_positions"})


def pack_model(model: OperationModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON values of a model."""
    tensors = {f"mapping.{k}": v.contiguous() for k, v in model.mapping.tensors().items()}
    link_tensors, link_values = model.links.to_tensors()
    tensors |= {f"links.{k}": v for k, v in link_tensors.items()}
    tensors |= {"corrected": model.corrected, "patches": model.patches, "unseen": model.unseen}
    mapping = model.mapping
    values: dict[str, Any] = {
        "operation": model.operation.settings(),
        "mapping": {
            "basis": mapping.trunk.basis.settings(),
            "axis": mapping.axis.settings(),
            "layouts": [vars(layout) for layout in mapping.layouts],
            "band": mapping.band,
        },
        "links": link_values,
        "tolerance": vars(model.tolerance),
        "training": model.training,
    }
    # safetensors has no complex128: such tensors are stored as pairs of reals.
    values["complex"] = sorted(k for k, v in tensors.items() if v.is_complex())
    real = {k: torch.view_as_real(v) if v.is_complex() else v for k, v in tensors.items()}
    return {k: v.contiguous() for k, v in real.items()}, values


def unpack_model(tensors: dict[str, Tensor], values: dict[str, Any]) -> OperationModel:
    """The inverse of :func:`pack_model`."""
    tensors = tensors | {k: torch.view_as_complex(tensors[k]) for k in values["complex"]}

    def under(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    named, manifest = under("mapping."), values["mapping"]
    layouts = tuple(Layout(tuple(one["shape"]), one["kind"]) for one in manifest["layouts"])
    mapping = CompactMapping(
        Trunk(make_basis(manifest["basis"]), named.get("readout")),
        make_axis(manifest["axis"]),
        tuple(named[f"latent.{i}"] for i in range(len(layouts))),
        layouts,
        (manifest["band"][0], manifest["band"][1]),
    )
    return OperationModel(
        make_operation(values["operation"]),
        mapping,
        LinkSet.from_tensors(under("links."), values["links"]),
        tensors["corrected"],
        tensors["patches"],
        tensors["unseen"],
        Tolerance(**values["tolerance"]),
        values["training"],
    )


__all__ = ["FORMAT_VERSION", "OperationModel", "ScenarioModel"]
