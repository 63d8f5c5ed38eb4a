"""All kinds of malformed input, in one order."""

from __future__ import annotations

from collections.abc import Mapping

from fuzzing import Kind
from malformed_datasets import dataset_kinds
from malformed_files import file_kinds
from malformed_images import image_kinds
from malformed_results import result_kinds
from malformed_settings import settings_kinds
from malformed_shards import shard_kinds


def make_kinds(seeds: Mapping[str, bytes]) -> list[Kind]:
    """Every kind; `seeds` are the whole files that are damaged (`seeds.make_seeds`)."""
    makers = (image_kinds, settings_kinds, file_kinds, result_kinds, dataset_kinds, shard_kinds)
    return [kind for make in makers for kind in make(seeds)]
