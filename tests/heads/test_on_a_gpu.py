"""Heads on a GPU: the embeddings of the CPU, and the same directions where they are fitted there."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from probe.heads import HEADS, ClosedFormHead, HeadConfig, TrainingImages, build_head, load_head, save_head
from tests.heads.kinds import IN_DIM, configured, fitted

pytestmark = pytest.mark.cuda


def needs_nothing_drawn(config: HeadConfig) -> bool:
    return isinstance(config, ClosedFormHead.Config) and config.fitted and not config.chosen and not config.drawn


FITTED = [kind for kind in HEADS.kinds if needs_nothing_drawn(configured(kind, per_domain=0))]


@pytest.mark.parametrize("kind", HEADS.kinds)
def test_a_head_of_the_cpu_gives_its_embeddings_on_a_gpu(
    kind: str, features: torch.Tensor, cuda: torch.device, tmp_path: Path
) -> None:
    config = configured(kind)
    head = fitted(config, features).eval()
    save_head(head, tmp_path / "head.safetensors")
    loaded = load_head(config, tmp_path / "head.safetensors", IN_DIM, cuda)
    torch.testing.assert_close(loaded(features.to(cuda)).cpu(), head(features), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", FITTED)
def test_a_head_that_is_fitted_on_a_gpu_orders_images_as_one_of_the_cpu(
    kind: str, features: torch.Tensor, cuda: torch.device
) -> None:
    cosines = []
    for device in (torch.device("cpu"), cuda):
        there, labels = features.to(device), torch.arange(len(features), device=device) % 50
        head = build_head(configured(kind, per_domain=0), IN_DIM, torch.Generator(device))
        assert isinstance(head, ClosedFormHead)
        unit = F.normalize(head.fit(TrainingImages.of(there, labels))(there), dim=1)
        cosines.append((unit @ unit.T).cpu())
    torch.testing.assert_close(cosines[1], cosines[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", [kind for kind, head in HEADS.kinds.items() if head.Config.trained])
def test_a_trained_heads_gradients_are_those_of_the_cpu(kind: str, features: torch.Tensor, cuda: torch.device) -> None:
    config = configured(kind, dropout=0.0)
    found = []
    here = build_head(config, IN_DIM, torch.Generator().manual_seed(0))
    for device in (torch.device("cpu"), cuda):
        head = build_head(config, IN_DIM, torch.Generator(device))
        head.load_state_dict(here.state_dict())
        head.train()(features.to(device)).square().mean().backward()
        gradients = [weight.grad for weight in head.parameters() if weight.grad is not None]
        assert gradients
        found.append([gradient.cpu() for gradient in gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
