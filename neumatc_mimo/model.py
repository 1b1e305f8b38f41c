"""The trained models of a scenario: recognise, query, save and load."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from neumatc_mimo import certified
from neumatc_mimo.mapping import CompactMapping, Trunk
from neumatc_mimo.noise import NoiseAxis
from neumatc_mimo.operations import make_operation
from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.recognition import Recognised, probe_subcarriers, recognise
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver
from neumatc_mimo.solvers.exact import Exact

FORMAT_VERSION = 1


@dataclass(frozen=True)
class OperationModel:
    """One operation's mappings over a link set, with what certifies them.

    :param operation: the operation
    :param mapping: the compact mappings of the aligned links
    :param links: the links
    :param corrected: [num_links] links whose answers need one correction step with the channel
    :param patches: [num_links, fft_size] grid subcarriers that are computed exactly
    :param tolerance: what the certificate asked for
    :param training: report of the training, plain values
    """

    operation: Operation
    mapping: CompactMapping
    links: LinkSet
    corrected: Tensor
    patches: Tensor
    tolerance: Tolerance
    training: dict[str, Any]

    def components(
        self, frequencies: Tensor, links: Tensor, no: Tensor, *, aligned: bool = False
    ) -> Components:
        """Certified components at frequencies [F] in Hz of links [l], noise powers [l].

        Corrections and patches need the channel, which comes from the links' paths.
        """
        mapping = self.mapping.select(links)
        a = self.links.channel(frequencies, links, aligned=True)
        noise = no[:, None].to(a.real.dtype)
        components = mapping(frequencies, no)
        fixed = self.operation.correct(a, components, noise)
        components = certified.select(
            self.corrected[links][:, None].expand(a.shape[:2]), fixed, components
        )
        where = self.patched(frequencies, links)
        if bool(where.any()):
            components = certified.replace_exact(self.operation, a, components, noise, where)
        if aligned:
            return components
        turns = frequencies[:, None] * self.links.row_delays[links][:, None]
        left = torch.exp(-2j * torch.pi * (turns - turns.round())).to(a.dtype)
        return self.operation.scale(components, left, left.new_ones(*left.shape[:-1], a.shape[-1]))

    def grid_index(self, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest grid subcarrier of frequencies [F], and whether they lie on the grid."""
        spacing, size = self.links.subcarrier_spacing, self.links.fft_size
        position = frequencies / spacing + size // 2
        index = position.round().clamp(0, size - 1)
        return index.long(), (position - index).abs() < 1e-3

    def patched(self, frequencies: Tensor, links: Tensor) -> Tensor:
        """Where links [l] keep exact results: at grid subcarriers, [l, F]."""
        index, on_grid = self.grid_index(frequencies)
        return self.patches[links][:, index] & on_grid

    @property
    def num_bytes(self) -> int:
        """Bytes of the mappings."""
        return self.mapping.num_bytes

    def to(self, device: torch.device | str) -> OperationModel:
        """The model on another device."""
        return OperationModel(
            self.operation,
            self.mapping.to(device),
            self.links.to(device),
            self.corrected.to(device),
            self.patches.to(device),
            self.tolerance,
            self.training,
        )


@dataclass(eq=False)
class ScenarioModel(Solver):
    """The trained models of a scenario, usable as the solver of any block.

    :param name: name of the scenario
    :param models: operation name → its model
    :param scenario: what the models were trained on, plain values
    """

    name: str
    models: Mapping[str, OperationModel]
    scenario: dict[str, Any] = field(default_factory=dict)

    def query(
        self,
        operation: str,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        no: Tensor | float = 0.0,
    ) -> Components:
        """Components of trained links at any frequency of the trained band, patches applied.

        :param operation: "pseudo_inverse" → (w,) with w [num_links, num_frequencies, M, K];
            "svd" → (u, s, v), [.., K, L], [.., L], [.., M, L]
        :param frequencies: Hz relative to the carrier, [num_frequencies]
        :param links: link indices; None means all
        :param no: noise power, linear, scalar or [num_links]; 0 is zero forcing

        :raises ValueError: for an unknown operation, or frequencies or noise powers out of range
        """
        model = self._model(operation)
        frequencies = model.links.check_frequencies(frequencies)
        links = model.links.check_links(links)
        power = torch.as_tensor(no, dtype=torch.float64).expand(len(links))
        if not bool(model.mapping.noise.contains(power).all()):
            raise ValueError(
                f"no reaches from {power.min().item():g} to {power.max().item():g}, the model "
                f"was trained from 0 to {model.mapping.noise.highest:g}."
            )
        components = model.components(frequencies, links, power.to(frequencies.device))
        answer = model.operation.answer(components)
        return (answer.w,) if operation == "pseudo_inverse" else tuple(answer)

    def residual(
        self,
        operation: str,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        no: float = 0.0,
    ) -> Tensor:
        """Relative residual of the answers, [num_links, num_frequencies]."""
        model = self._model(operation)
        frequencies = model.links.check_frequencies(frequencies)
        links = model.links.check_links(links)
        power = torch.full((len(links),), no, dtype=torch.float64)
        components = model.components(frequencies, links, power, aligned=True)
        a = model.links.channel(frequencies, links, aligned=True)
        return model.operation.residual(a, components, no)

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
        return ModelAnswers(model, channels, certify, tolerance)

    def _model(self, operation: str) -> OperationModel:
        if operation not in self.models:
            raise ValueError(
                f'There is no model of "{operation}", known are {", ".join(self.models)}.'
            )
        return self.models[operation]

    @property
    def training(self) -> dict[str, dict[str, Any]]:
        """Training report of each operation."""
        return {name: model.training for name, model in self.models.items()}

    @property
    def num_bytes(self) -> int:
        """Bytes of all mappings."""
        return sum(model.num_bytes for model in self.models.values())

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{name}: {m.links.num_links} links of {m.links.num_rows} x {m.links.num_cols}, rank "
            f"{m.mapping.trunk.rank}, {m.num_bytes / 1e6:.0f} MB, "
            f"{100 * m.patches.double().mean().item():.2f} % patched"
            for name, m in self.models.items()
        )
        return f"ScenarioModel({self.name}: {parts})"

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write safetensors and a JSON card to a folder, complete or not at all.

        :raises OSError: if the folder cannot be written
        """
        target = Path(folder)
        partial = target.with_name(target.name + ".saving")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            card: dict[str, Any] = {
                "format": FORMAT_VERSION,
                "name": self.name,
                "scenario": self.scenario,
                "operations": {},
            }
            for name, model in self.models.items():
                tensors, metadata = pack_model(model)
                save_file(tensors, partial / f"{name}.safetensors")
                card["operations"][name] = metadata
            (partial / "model.json").write_text(json.dumps(card, indent=2), encoding="utf-8")
            old = target.with_name(target.name + ".old")
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            partial.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise OSError(f"The model cannot be written to {target}: {error}.") from error
        return target

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "cpu") -> ScenarioModel:
        """Read a model folder; nothing in it is executed.

        :raises FileNotFoundError: if there is no model in the folder
        :raises ValueError: if it is damaged or of a newer format
        """
        source = Path(folder)
        try:
            card = json.loads((source / "model.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"{source} holds no model: model.json is missing.") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{source / 'model.json'} is damaged: {error}.") from None
        if not isinstance(card, dict) or card.get("format") != FORMAT_VERSION:
            version = card.get("format") if isinstance(card, dict) else None
            raise ValueError(
                f"{source} has the model format {version}, this version of the package reads "
                f"{FORMAT_VERSION}; update the package or train again."
            )
        models = {}
        for name, metadata in card["operations"].items():
            file = source / f"{name}.safetensors"
            try:
                models[name] = unpack_model(load_file(file, device=device), metadata)
            except (SafetensorError, FileNotFoundError, KeyError) as error:
                raise ValueError(f"{file} is truncated or damaged: {error}.") from None
        return cls(card["name"], models, card["scenario"])

    def check(self, scenario_fingerprint: str) -> None:
        """Refuse a scenario other than the one that the model was trained on."""
        mine = self.scenario.get("fingerprint")
        if mine != scenario_fingerprint:
            raise ValueError(
                f'The model of "{self.name}" was trained on other data (fingerprint {mine}, the '
                f"scenario has {scenario_fingerprint}); train again."
            )


class ModelAnswers(Answers):
    """Answers of one call: recalled for recognised items, exact for the others."""

    def __init__(
        self,
        model: OperationModel,
        channels: Channels,
        certify: str | None,
        tolerance: Tolerance | None,
    ) -> None:
        self.counts = Counts()
        self._model, self._channels, self._certify = model, channels, certify
        self._tolerance = tolerance or model.tolerance
        frequencies = channels.frequencies.to(model.links.device)
        self._frequencies = frequencies
        found = self._recognise()
        trusted = certify is not None
        items = torch.arange(channels.a.shape[0], device=channels.a.device)
        self._known = items[found.links >= 0] if trusted else items
        self._unknown = items[found.links < 0] if trusted else items[:0]
        self._links = found.links[self._known]
        self._found = found
        self.counts.links_recalled = len(self._known)
        self.counts.links_unknown = len(self._unknown)
        self._gain = found.gain[self._known].abs().to(channels.a.real.dtype)
        no = torch.zeros(len(items)) if channels.no is None else channels.no
        # A common gain c turns the problem into that of A at the noise power no / c^2.
        power = no[self._known].to(self._gain) / self._gain[:, 0].square()
        mapping = model.mapping
        chosen = mapping.select(self._links)
        self._folded = chosen.at_noise(power)
        self._readout = chosen.trunk.readout
        self._x = mapping.coordinate(frequencies)
        if trusted:
            _, on_grid = model.grid_index(frequencies)
            self._exactly = model.patched(frequencies, self._links) | ~on_grid
            self._patched_only = on_grid
            low, high = model.links.band
            margin = model.links.subcarrier_spacing / 2
            if bool(((frequencies < low - margin) | (frequencies > high + margin)).any()):
                _warn("Some subcarriers lie outside the trained band, they are computed exactly.")
            self._correct = model.corrected[self._links]
        self._any_correct = trusted and bool(self._correct.any())
        self._rest = (
            Exact().start(
                model.operation,
                Channels(
                    channels.a[self._unknown],
                    channels.frequencies,
                    None if channels.no is None else channels.no[self._unknown],
                ),
            )
            if len(self._unknown)
            else None
        )

    def tile(self, subcarriers: slice) -> Any:
        operation = self._model.operation
        if not len(self._known):
            assert self._rest is not None
            answer = self._rest.tile(subcarriers)
            self.counts.exact = self._rest.counts.exact
            return answer
        noise = self._channels.noise(self._known)
        known = operation.answer(self._query(subcarriers, noise), noise)
        if self._rest is None:
            return known
        before = self._rest.counts.exact
        others = self._rest.tile(subcarriers)
        self.counts.exact += self._rest.counts.exact - before
        merged = []
        for mine, other in zip(known, others, strict=True):
            both = mine.new_empty(len(self._known) + len(self._unknown), *mine.shape[1:])
            both[self._known], both[self._unknown] = mine, other.to(mine.dtype)
            merged.append(both)
        return type(known)(*merged)

    def _query(self, subcarriers: slice, noise: Tensor | float) -> Components:
        model, operation = self._model, self._model.operation
        mapping = model.mapping
        basis = mapping.trunk.hidden(self._x[subcarriers]) @ self._readout
        components = tuple(
            mapping.component(i, basis, folded) for i, folded in enumerate(self._folded)
        )
        left = self._found.phases(self._frequencies[subcarriers], self._known)
        size = self._gain[:, None]
        right = left.new_ones(1).expand(*left.shape[:-1], model.links.num_cols)
        ordered = self._ordered(components)
        components = operation.scale(ordered, left / size, right)
        components = operation.amplify(components, size)
        if self._certify is None:
            self.counts.queried += basis.shape[0] * basis.shape[1]
            return components
        if self._certify == "call":
            a = self._channels.a[self._known, subcarriers].contiguous()
            return certified.certify(operation, a, components, noise, self._tolerance, self.counts)
        where = self._exactly[:, subcarriers]
        num_exact = int(where.sum())
        if not self._any_correct and not num_exact:
            self.counts.queried += where.numel()
            return components
        a = self._channels.a[self._known, subcarriers].contiguous()
        if self._any_correct:
            fixed = operation.correct(a, components, noise)
            mask = self._correct[:, None].expand(a.shape[:2])
            all_corrected = bool(self._correct.all())
            components = fixed if all_corrected else certified.select(mask, fixed, components)
            self.counts.corrected += int((mask & ~where).sum())
            self.counts.queried += int((~mask & ~where).sum())
        else:
            self.counts.queried += where.numel() - num_exact
        if num_exact:
            components = certified.replace_exact(operation, a, components, noise, where)
            patched = int((where & self._patched_only[subcarriers]).sum())
            self.counts.patched += patched
            self.counts.exact += num_exact - patched
        return components

    def _ordered(self, components: Components) -> Components:
        """Components of the link with its rows in the order of the given channel."""
        order = self._found.order[self._known]
        if bool((order == torch.arange(order.shape[1], device=order.device)).all()):
            return components
        return self._model.operation.permute(components, order)

    def _recognise(self) -> Recognised:
        model, channels = self._model, self._channels
        num_items, _, num_rows, _ = channels.a.shape
        if self._certify is None:
            if channels.links is None:
                raise ValueError("certify=None is a pure query, it needs links.")
            links = channels.links
            order = torch.arange(num_rows, device=links.device).expand(num_items, -1)
            delay = model.links.row_delays[links]
            return Recognised(links, order, torch.ones_like(delay).to(torch.complex128), delay)
        probes = probe_subcarriers(channels.a.shape[1]).to(channels.a.device)
        frequencies = self._frequencies[probes]
        if channels.links is not None and bool((channels.links >= model.links.num_links).any()):
            raise ValueError(
                f"links has the entry {int(channels.links.max())}, the model has links 0 to "
                f"{model.links.num_links - 1}."
            )
        dtype = channels.a.dtype
        found = recognise(
            channels.a[:, probes],
            frequencies,
            model.links,
            model.links.channel(frequencies, aligned=True).to(dtype),
            channels.links,
            any_gain=model.operation.free_gains(channels.no),
        )
        if channels.no is not None:
            power = channels.no.to(found.gain.real) / found.gain.abs()[:, 0].square()
            inside = model.mapping.noise.contains(power)
            if not bool((inside | (found.links < 0)).all()):
                _warn("Some noise powers lie outside the trained range, they are computed exactly.")
            found = Recognised(
                torch.where(inside, found.links, -1), found.order, found.gain, found.delay
            )
        return found


_warned: set[str] = set()


def _warn(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=4)


def pack_model(model: OperationModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON values of a model."""
    tensors = {f"mapping.{k}": v.contiguous() for k, v in model.mapping.tensors().items()}
    link_tensors, link_values = model.links.to_tensors()
    tensors |= {f"links.{k}": v for k, v in link_tensors.items()}
    tensors |= {"corrected": model.corrected, "patches": model.patches}
    mapping = model.mapping
    values = {
        "operation": model.operation.settings(),
        "mapping": {
            "noise": vars(mapping.noise),
            "shapes": mapping.shapes,
            "complex_valued": mapping.complex_valued,
            "band": mapping.band,
        },
        "rank": mapping.trunk.rank,
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

    named, card = under("mapping."), values["mapping"]
    latents = tuple(named[f"latent.{i}"] for i in range(len(card["shapes"])))
    mapping = CompactMapping(
        Trunk(named["trunk.frequency"], named["trunk.phase"], named["trunk.readout"]),
        NoiseAxis(**card["noise"]),
        latents,
        tuple(tuple(shape) for shape in card["shapes"]),
        tuple(card["complex_valued"]),
        (card["band"][0], card["band"][1]),
    )
    return OperationModel(
        make_operation(values["operation"]),
        mapping,
        LinkSet.from_tensors(under("links."), values["links"]),
        tensors["corrected"],
        tensors["patches"],
        Tolerance(**values["tolerance"]),
        values["training"],
    )


__all__ = ["FORMAT_VERSION", "OperationModel", "ScenarioModel"]
