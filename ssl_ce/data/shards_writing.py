"""Writing shards: one split of an image set as tar archives in WebDataset's form, and their index."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from ssl_ce.data.decode import Unreadable, decode, fit_square, quiet_pillow, reasons
from ssl_ce.data.opening import find_dataset, packed_file, read_source
from ssl_ce.data.options import DataOptions
from ssl_ce.data.packer import Failures, check_free, in_order, progress_bar
from ssl_ce.data.shards_index import Scan, Shard, ShardIndex, content_hash, scan
from ssl_ce.data.shards_naming import INDEX, MEMBERS, is_sharded
from ssl_ce.data.source import Source
from ssl_ce.errors import DataLostError, UserError
from ssl_ce.files import atomic_write, digest, slug, write_text
from ssl_ce.locks import alone
from ssl_ce.randomness import sample_keys

Encoding = Literal["png", "webp", "jpeg", "original"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
_SUFFIX = {"png": "png", "webp": "webp", "jpeg": "jpg"}
_SAVED_AS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "lossless": True, "method": 0, "quality": 0},
    "jpeg": {"format": "JPEG", "quality": 95},
}
_PLAN = ".shards.plan"


def write_shards(
    reference: str,
    split: str,
    out: Path,
    options: DataOptions,
    *,
    per_shard: int = 10_000,
    encoding: Encoding = "png",
    overwrite: bool = False,
) -> ShardIndex:
    """Write one split of `reference` as shards into the folder `out`, in an order shuffled by the options' seed.

    An image's sample is called by its place in the split's listing. What was interrupted goes on with the first shard
    that is missing. "png" and "webp" keep the fitted squares bit for bit, "jpeg" (quality 95) does not; "original"
    copies files as they are, to be fitted when they are read.

    Raises
    ------
    UserError
        If there is no such split, too many of its images cannot be read, "original" is asked of images that are no
        files, or `out` holds these shards already (unless `overwrite`) or others of that name.
    DataLostError
        If an image of a shard changed or vanished meanwhile, or cannot be read any more. Shards before it stay.
    MachineError
        If the shards will not fit on the disk, as the first one tells, or one does not (`DiskFullError`). Those before
        it stay.
    """
    if is_sharded(reference) or packed_file(reference) is not None:
        raise UserError(f"{reference} is no folder or dataset. Shard the one that it was made of.")
    dataset = find_dataset(reference)
    source = read_source(dataset, reference, split, options)
    if len(source) == 0:
        raise UserError(f"The {source.split} split of {source.name} holds no images.")
    size = None if encoding == "original" else options.size or options.default_size or dataset.size
    if size is None and (options.size or not all(isinstance(image, str | Path) for image in source.images)):
        raise UserError("'original' copies image files as they are: there must be files, and no --size.")
    source_said = {"ref": reference, "size": size, "fit": options.fit, **source.origin}
    holder = f"{out} is being written by another process"
    with alone(out, lambda who: f"{holder} ({who}). Wait until it ends, or choose another --out."):
        return _Writer(source, out, options, size, per_shard, encoding, source_said).write(overwrite)


class _Writer:
    def __init__(
        self,
        source: Source,
        out: Path,
        options: DataOptions,
        size: int | None,
        per_shard: int,
        encoding: Encoding,
        source_said: dict[str, Any],
    ) -> None:
        self.source, self.out, self.options, self.size, self.encoding = source, out, options, size, encoding
        self.per_shard, self.source_said = per_shard, source_said
        self.stem = slug(f"{source.name}-{source.split}")
        self.console = Console(stderr=True, quiet=not options.progress)
        self.failures = Failures(source, options.allow_unreadable, self.console)

    def write(self, overwrite: bool) -> ShardIndex:
        keys = sample_keys(self.options.seed, 0, torch.arange(len(self.source)), "sharding")
        order = torch.argsort(keys, stable=True).tolist()
        parts = [order[start : start + self.per_shard] for start in range(0, len(order), self.per_shard)]
        listed = [self.source.identity(places) for places in parts]
        self._claim(overwrite, listed)
        shards: list[Shard] = []
        members: list[NDArray[np.int64]] = []
        with quiet_pillow(), progress_bar(self.console) as bar:
            task = bar.add_task(f"Sharding {self.source.name}, {self.source.split}", total=len(order))
            paths = [self.out / f"{self.stem}-{number:06d}.tar" for number in range(len(parts))]
            for path, places, identity in zip(paths, parts, listed, strict=True):
                found = self._write_shard(path, places, identity)
                if not shards:
                    rest = sum(len(part) for path, part in zip(paths, parts, strict=True) if not path.exists())
                    self._check_space(found.bytes * rest // len(places))
                shards.append(Shard(name=path.name, images=len(found.members), bytes=found.bytes, hash=found.hash))
                members.append(self._members(found))
                bar.advance(task, len(places))
        self.failures.check_end()
        return self._finish(tuple(shards), np.concatenate(members))

    def _claim(self, overwrite: bool, listed: Sequence[str]) -> None:
        """Refuse a folder with shards of this name, unless they are the beginning of these."""
        index, plan = self.out / f"{self.stem}{INDEX}", self.out / f"{self.stem}{_PLAN}"
        settings = (self.size, self.options.fit, self.encoding, self.per_shard, self.options.seed)
        key = digest(*listed, str(settings))
        ours = plan.is_file() and plan.read_text(encoding="utf-8", errors="replace") == key
        there = [index] if index.exists() else [] if ours else self._shards_there()[:1]
        if there and not overwrite:
            raise UserError(f"{there[0]} exists already. Choose another --out, or replace the shards with --force.")
        if there:
            index.unlink(missing_ok=True)
            for path in self._shards_there():
                path.unlink()
        write_text(plan, key)

    def _shards_there(self) -> list[Path]:
        """The shards of this name in the folder; those of a set whose name begins alike are none."""
        name = re.compile(re.escape(self.stem) + r"-\d{6,}\.tar")
        return sorted(path for path in self.out.glob("*.tar") if name.fullmatch(path.name))

    def _check_space(self, needed: int) -> None:
        """Refuse to go on where the rest takes `needed` bytes, and there are fewer."""
        what = f"The rest of {self.source.name} as shards ({self.encoding})"
        again = "The first shard stays. Free some space and run again, or take a smaller --size or --encoding jpeg."
        check_free(self.out, needed, what, again)

    def _write_shard(self, path: Path, places: Sequence[int], identity: str) -> Scan:
        """Write the shard, or find what of it was written before: the plan says that it is the same."""
        if path.exists():
            found = scan(path, decoding=False)
            for place in sorted(set(places) - {int(member.key) for member in found.members}):
                self.failures.add(place, Unreadable("it could not be read when its shard was written"))
            return found
        with atomic_write(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for place, encoded in zip(places, in_order(self._encode, places, self.options.workers), strict=True):
                if isinstance(encoded, Unreadable):
                    self.failures.add(place, encoded)
                else:
                    self._add(tar, place, *encoded)
            if self.source.identity(places) != identity:
                first = f" (the first that cannot be read: {self.failures.listed[0]})" if self.failures.listed else ""
                raise DataLostError(
                    f"Images of {self.source.name} changed or vanished while {path} was written{first}. The shards "
                    "before it stay. Restore them and run again."
                )
        return scan(path, decoding=False)

    def _encode(self, place: int) -> tuple[str, bytes] | Unreadable:
        """An image's suffix and bytes, or why it has none."""
        image = self.source.images[place]
        try:
            upright = decode(image)
            if self.size is None:
                path = Path(str(image))
                with reasons():
                    return path.suffix[1:].lower(), path.read_bytes()
            pixels = fit_square(upright, self.size, self.options.fit)
        except Unreadable as reason:
            return reason
        buffer = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(buffer, **_SAVED_AS[self.encoding])
        return _SUFFIX[self.encoding], buffer.getvalue()

    def _add(self, tar: tarfile.TarFile, place: int, suffix: str, image: bytes) -> None:
        parts = {suffix: image}
        if self.source.targets is not None:
            target = self.source.targets[place].tolist()
            parts |= {"json": json.dumps({"targets": target}).encode()} if isinstance(target, list) else {
                "cls": str(target).encode()
            }  # fmt: skip
        for kind, data in parts.items():
            # The times and owners stay at zero: the same images make the same bytes.
            member = tarfile.TarInfo(f"{place:09d}.{kind}")
            member.size, member.mode = len(data), 0o444
            tar.addfile(member, BytesIO(data))

    def _members(self, found: Scan) -> NDArray[np.int64]:
        """Offset, length and targets of each image: int64 (n, 2 + columns)."""
        places = np.array([(m.offset, m.length) for m in found.members], dtype=np.int64).reshape(-1, 2)
        if self.source.targets is None:
            return places
        targets = self.source.targets[np.array([int(m.key) for m in found.members], dtype=np.int64)]
        return np.column_stack([places, targets.astype(np.int64)])

    def _finish(self, shards: tuple[Shard, ...], members: NDArray[np.int64]) -> ShardIndex:
        source, targets = self.source, self.source.targets
        members = np.ascontiguousarray(members)
        fit = None if self.size is None else self.options.fit
        index = ShardIndex(
            name=source.name,
            split=source.split,
            task=source.task,
            classes=source.classes,
            n=len(members),
            columns=0 if targets is None else None if targets.ndim == 1 else targets.shape[1],
            size=self.size,
            fit=fit,
            encoding=self.encoding,
            fingerprint=content_hash(shards, members, source.classes, source.task, self.size, fit),
            source=self.source_said,
            total=len(source),
            unreadable=tuple(self.failures.listed),
            unreadable_count=self.failures.count,
            shards=shards,
        )
        with atomic_write(self.out / f"{self.stem}{MEMBERS}") as temporary, temporary.open("wb") as file:
            np.save(file, members)
        # Last: where it is, everything is.
        write_text(self.out / f"{self.stem}{INDEX}", index.model_dump_json(indent=1) + "\n")
        (self.out / f"{self.stem}{_PLAN}").unlink()
        return index
