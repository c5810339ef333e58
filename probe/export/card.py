"""The model card of an exported folder: its README.md, with the metadata that the Hub reads.

Card(run, config, loader, license="apache-2.0").text(verified, origin)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import yaml

from probe.embed import ExportedConfig
from probe.export.formats import HEAD_FILE, Format, Formats, Part
from probe.export.loader import Loader
from probe.metrics import MEAN, METRICS, averaged, value_intervals
from probe.runs import RunDirectory, RunIndex

RESAMPLES = 1_000
OTHER = "other"  # what the Hub calls a license that it does not know

RUN = {
    Format.onnx: (
        "onnxruntime",
        'import onnxruntime\n\nvectors = onnxruntime.InferenceSession("{file}").run(None, {{"{name}": x.numpy()}})[0]',
    ),
    Format.pt2: ("torch", 'import torch\n\nvectors = torch.export.load("{file}").module()(x)'),
    Format.aoti: ("torch", 'import torch\n\nvectors = torch._inductor.aoti_load_package("{file}")(x.contiguous())'),
    Format.torchscript: ("torch", 'import torch\n\nvectors = torch.jit.load("{file}")(x)'),
}
"""What runs a format, and how."""

LIMITS = """\
* It was fitted on the data above; on images of other kinds, and on crops, drawings or scans where it has seen
  photographs, measure before you rely on it.
* Computed in fp32. In half precision, on another device or by other versions of the packages the last digits differ.
* Transparent images: put them on white first; 16-bit ones: bring them to 8 bits first, as `probe` does.
* A frozen backbone has the limits, and the biases, of the data that it was pre-trained on."""


@dataclass(frozen=True)
class Verified:
    """One way to load the folder, compared with the run."""

    what: str
    cosine: float
    """The lowest of all images."""
    remark: str = ""


class Card:
    """Of a run that is exported. `license`: of the backbone's weights, as the Hub writes it; None: what timm says.
    `formats`: what the folder holds besides its own files."""

    def __init__(
        self,
        run: RunDirectory,
        config: ExportedConfig,
        loader: Loader,
        license: str | None = None,
        formats: Formats | None = None,
    ) -> None:
        self.run, self.config, self.loader, self.formats = run, config, loader, formats or Formats()
        self.location = run.features.weights.get(run.config.stores("test")[0])
        self.license = license or self._license_of_timm()
        self.seeds = [
            other
            for other in RunIndex(run.path.parent).runs
            if _but_seed(other) == _but_seed(run) and (other.inputs, other.code) == (run.inputs, run.code)
        ] or [run]

    def text(self, verified: Sequence[Verified], origin: str, images: int) -> str:
        """`origin`: of the images it was verified on; `images`: how many."""
        lines = "\n".join(f"| {each.what} | {each.cosine:.7f} | {each.remark} |" for each in verified)
        sections = {
            "Use": self._use(),
            **({"Other formats": other} if (other := self._other_formats()) else {}),
            "Backbone": self._backbone(),
            "Head and training data": self._training(),
            "Scores": self._scores(),
            "Verified": (
                f"Before this folder was written, each way to load it was compared with the run on {images} {origin}."
                "\n\n"
                f"| | lowest cosine | |\n|---|---|---|\n{lines}"
            ),
            "Limits": LIMITS,
        }
        body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
        return f"---\n{self._metadata()}---\n\n# {self._title()}\n\n{self._summary()}\n\n{body}\n"

    def _title(self) -> str:
        choice = self.run.scores.choice
        return f"{self.config.name}, {choice.chosen if choice else self.run.config.head.kind}, {self.config.dim}-d"

    def _summary(self) -> str:
        length = "of unit length" if self.config.head[-1:] == ("normalize",) else "whose lengths matter"
        compared = "cosine similarity" if self.config.distance == "cosine" else "Euclidean distance"
        return (
            f"Image embeddings of {self.config.dim} numbers, {length}, to be compared by {compared}: a frozen backbone "
            "and a projection head that was fitted on its features by `probe`."
        )

    def _metadata(self) -> str:
        told: dict[str, object] = {
            "library_name": {"transformers": "transformers", "timm": "timm"}.get(
                self.config.backbone.library, "open_clip"
            ),
            "pipeline_tag": "image-feature-extraction",
            "license": self.license or OTHER,
        }
        if not self.license:
            told["license_name"] = "that-of-the-backbone"
            if self._base_model:
                told["license_link"] = f"https://huggingface.co/{self._base_model}"
        if self._base_model:
            told["base_model"] = self._base_model
        told["tags"] = ["image-retrieval", "image-embeddings", "linear-probe", "probe", "sentence-transformers"]
        return yaml.safe_dump(told, sort_keys=False)

    @property
    def _base_model(self) -> str | None:
        """The hub's repository of the backbone, where it has one."""
        own = self.location.repository if self.location else None
        return own or self.config.backbone.hub_repository

    def _license_of_timm(self) -> str | None:
        """What timm says of weights that it publishes."""
        if self.config.backbone.library != "timm" or self._base_model is None:
            return None
        import timm

        published = timm.get_pretrained_cfg(self.config.backbone.model)
        return published.license if published else None

    def _use(self) -> str:
        return (
            f"With {', '.join(self.loader.packages)}, in this folder:\n\n```python\n{self.loader.script}```\n\n"
            '`embed([Image.open("a.jpg")])` gives a tensor of (1, '
            f"{self.config.dim}). With sentence-transformers, which runs `image_embedding.py` of this folder, so "
            "look at it before you trust it:\n\n```python\nfrom sentence_transformers import SentenceTransformer\n\n"
            'model = SentenceTransformer(".", trust_remote_code=True)\n'
            'vectors = model.encode([Image.open("a.jpg")])\n```\n\n'
            'With probe, which checks the digests first: `probe.load(".").encode("photos/")`.'
        )

    def _other_formats(self) -> str:
        """How to run those that the folder holds, each in a block of its own."""
        return "\n\n".join(self._other_format(kind) for kind in sorted(self.formats.kinds))

    def _other_format(self, kind: Format) -> str:
        px, of_head = self.config.backbone.px, kind is Format.onnx and self.formats.part is Part.head
        if of_head:
            taken = f"features of the backbone, (1, {self.config.in_dim}) float32"
        elif self.formats.preprocessing or kind is Format.torchscript:
            taken = "an image of any size, `pil_to_tensor(image)[None]` of torchvision: (1, 3, height, width) uint8"
        else:
            taken = f"an image prepared as above, `prepare(image)[None]`: (1, 3, {px}, {px}) float32"
        file, name = (HEAD_FILE, "features") if of_head else (kind.file, "images")
        package, code = RUN[kind]
        code = code.format(file=file, name=name)
        return f"`{file}`, with {package}; `x` is {taken}, or several.\n\n```python\n{code}\n```"

    def _backbone(self) -> str:
        row = self.config.backbone
        location = self.location
        origin = f"file {location.file.rpartition('/')[2]}" if location else "unknown place"
        if location and location.repository:
            origin = f"{location.repository}, revision {location.revision}, file {location.file}"
        facts = {
            "library, model": f"{row.library}, {row.model}",
            "weights": f"{origin}; SHA-256 {self.config.weights_sha256}",
            "license": self.license or "not known here; that of the backbone's authors",
            "feature": f"{row.feature}, {self.config.in_dim} numbers",
            "images": f"{row.px} x {row.px}, {row.resize}, {row.interpolation}, mean {row.mean}, std {row.std}",
        }
        return "\n".join(f"* {name}: {value}" for name, value in facts.items())

    def _training(self) -> str:
        config, scores = self.run.config, self.run.scores
        options = yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False)
        classes = f" of {scores.classes:,} classes" if scores.classes else ""
        made_for = f" Made for {self.run.environment.made_for}." if self.run.environment.made_for else ""
        domains = ", ".join(scores.test.of("clean", self.run.indexes[0]).domains) if self._is_scored else "none"
        return (
            f"{scores.training_images:,} training images{classes}; domains of the test split: {domains}.{made_for} "
            f"Manifest {self.run.inputs.get('manifest', 'unknown')[:12]}, run {self.run.key[:12]}, fitted as\n\n"
            f"```yaml\n{options}```{self._choice()}"
        )

    def _choice(self) -> str:
        """What was chosen among several heads, and by which scores; empty where nothing was."""
        choice = self.run.scores.choice
        if choice is None:
            return ""
        measured = [each for each in choice.candidates if each.folds]
        rows = [
            f"| {each.name} | {100 * each.mean:.1f} | {len(each.folds)} |"
            for each in sorted(measured, key=lambda each: -each.mean)
        ]
        table = "\n".join(["| head | mMP@5 | folds |", "|---|---|---|", *rows])
        scored = f" Each was fitted on some of the training classes and scored, in %, on the others:\n\n{table}"
        return f"\n\n`auto` chose **{choice.chosen}**: {choice.why}.{scored if rows else ''}"

    @property
    def _is_scored(self) -> bool:
        return bool(self.run.scores.test.root)

    def _scores(self) -> str:
        """Of the test split, over all seeds of this configuration that lie beside the run."""
        if not self._is_scored:
            return "None: it was fitted to all images, and none was left to be scored on."
        index, seeds = self.run.indexes[0], sorted(run.config.seed for run in self.seeds)
        scores = [run.scores.test.of("clean", index).mean for run in self.seeds]
        rows = []
        for metric in METRICS:
            values = [value for mean in scores if (value := mean.get(metric)) is not None]
            if not values:
                continue
            spread = f"{100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else "-"
            low, high = value_intervals(averaged([run.values(index, metric) for run in self.seeds]), RESAMPLES)[MEAN]
            own = self.run.scores.test.of("clean", index).mean[metric] or 0.0
            rows.append(
                f"| {metric} | {100 * own:.1f} | {100 * np.mean(values):.1f} | {spread} | {100 * low:.1f} to "
                f"{100 * high:.1f} |"
            )
        return (
            f"In %, on the test split, {index} index, balanced over domains; seeds {', '.join(map(str, seeds))}, of "
            f"which this is {self.run.config.seed}. The interval is of 95 %, over queries.\n\n"
            "| metric | this seed | mean of seeds | standard deviation | interval |\n|---|---|---|---|---|\n"
            + "\n".join(rows)
        )


def _but_seed(run: RunDirectory) -> dict[str, object]:
    return run.config.model_dump(mode="json", exclude={"seed"})
