"""``data=recorded``: market streams that a client recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from live.simulator.recorded_bars import whole_bars
from live.simulator.recorded_tape import recorded_tape
from live.simulator.recordings import Recording, read_recording
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RecordedData:
    """Settings of recorded streams.

    Parameters
    ----------
    path : str
        A recording, or a folder of recordings and depth snapshots (`recordings.read_recording`).

    Raises
    ------
    ConfigError
        If the path is empty.
    """

    path: str

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError("data.path must name a file or folder, was empty")

    def recording(self) -> Recording:
        """Return what was recorded; errors as `read_recording`."""
        return read_recording(Path(self.path))

    def load(self, *, reviewed: bool = False) -> MarketData:
        """Return bars of the whole minutes, for commands that work by bars; `reviewed` changes nothing.

        Raises
        ------
        ConfigError, DataGap
            As `read_recording`, `recorded_tape` and `whole_bars`.
        """
        recording = self.recording()
        tape = recorded_tape(recording)
        return whole_bars(tape.bars, (*recording.notes, *tape.notes))
