"""Fitting heads: from a configuration and cached features to a head and its scores, in memory.

from probe.fit import FitData, fit, read_run_config

fitted = fit(read_run_config(mapping), FitData(features, device, budget))
"""

from probe.fit.candidates import Candidate, Choice, candidates
from probe.fit.checkpoint import Checkpoint, TrainingState
from probe.fit.choice import candidates_for, choose
from probe.fit.closed_form import fit_in_closed_form, images_of_training
from probe.fit.config import (
    ClosedFormConfig,
    DistillationConfig,
    RunConfig,
    Seed,
    TrainedConfig,
    is_closed_form,
    read_run_config,
)
from probe.fit.data import FitData, SplitRows, shuffle_window, spanned_dimensions
from probe.fit.divergence import DivergedError
from probe.fit.domains import images_of, require_domains, training_images
from probe.fit.embedding import SELECTING, embed, score, score_merged
from probe.fit.fitted import Fitted, fit
from probe.fit.history import DomainRecord, EpochRecord
from probe.fit.optimizers import OPTIMIZERS
from probe.fit.plan import TrainingPlan
from probe.fit.samplers import SAMPLERS, Sampler, SingleDomainSampler, StepBlock
from probe.fit.schedules import SCHEDULES, Schedule
from probe.fit.scores import LastEpoch, RunScores, Start
from probe.fit.trainer import Trainer
from probe.fit.training import VAL_SHARE, Epochs, Joint, Samples, Separate, Training

__all__ = [
    "OPTIMIZERS",
    "SAMPLERS",
    "SCHEDULES",
    "SELECTING",
    "VAL_SHARE",
    "Candidate",
    "Checkpoint",
    "Choice",
    "ClosedFormConfig",
    "DistillationConfig",
    "DivergedError",
    "DomainRecord",
    "EpochRecord",
    "Epochs",
    "FitData",
    "Fitted",
    "Joint",
    "LastEpoch",
    "RunConfig",
    "RunScores",
    "Sampler",
    "Samples",
    "Schedule",
    "Seed",
    "Separate",
    "SingleDomainSampler",
    "SplitRows",
    "Start",
    "StepBlock",
    "TrainedConfig",
    "Trainer",
    "Training",
    "TrainingPlan",
    "TrainingState",
    "candidates",
    "candidates_for",
    "choose",
    "embed",
    "fit",
    "fit_in_closed_form",
    "images_of",
    "images_of_training",
    "is_closed_form",
    "read_run_config",
    "require_domains",
    "score",
    "score_merged",
    "shuffle_window",
    "spanned_dimensions",
    "training_images",
]
