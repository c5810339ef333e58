"""The learning rate over a run, a file each schedule.

A new file here, or a class of the user's named `package.module:Class`, is a schedule like these (docs/fitting.md).
"""

from probe.fit.schedules.base import SCHEDULES, Schedule, build_schedule

__all__ = ["SCHEDULES", "Schedule", "build_schedule"]
