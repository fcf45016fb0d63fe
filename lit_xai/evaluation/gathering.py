"""Values of all processes."""

from typing import TypeVar

import pandas as pd
import torch

Value = TypeVar("Value")


def of_all_processes(value: Value) -> list[Value]:
    """Return every process's value, in the order of the processes; every process must call it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    shares: list[Value] = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, value)
    return shares


def gathered_table(parts: list[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    """Merge tables of all batches and processes; every process must call it.

    Args:
        parts: This process's tables, each with a column `sample_id`.
        keys: Columns that name a group; groups stay in the order in which the first process met them.

    Returns:
        Rows by group and `sample_id`.
    """
    tables = [table for share in of_all_processes(parts) for table in share]
    filled = [table for table in tables if len(table)]
    if not filled:
        # A process without a share has no table at all.
        return tables[0]
    whole = pd.concat(filled, ignore_index=True)
    group = whole.groupby(keys, sort=False).ngroup()
    order = whole.assign(group=group).sort_values(["group", "sample_id"], kind="stable").index
    return whole.loc[order].reset_index(drop=True)
