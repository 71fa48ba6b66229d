"""The champion: one plain folder that the gate and the back-test load, without Ray or MLflow."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from noisegate.decision.history import Seen
from noisegate.decision.policy import CANDIDATES, OperatingPoint
from noisegate.errors import MissingError
from noisegate.model.durations import Forecast, Hazard, blend, rule
from noisegate.model.neighbours import TemplateIndex


@dataclass(frozen=True)
class Champion:
    """What decides: a forecast of durations and the operating points.

    Attributes:
        candidate: which of CANDIDATES forecasts.
        hazard: the fitted model; None for the rule.
        points: operating point of each service that has one of its own; "" is the team's.
        index: the templates it was trained on, for nearest neighbours; None without text.
    """

    candidate: str
    hazard: Hazard | None
    points: dict[str, OperatingPoint]
    index: TemplateIndex | None

    def forecast(self, seen: Seen) -> Forecast:
        """Forecast n alerts from what was known when each fired."""
        simple = rule(seen)
        if self.hazard is None:
            return simple
        fitted = self.hazard.predict(seen)
        return fitted if self.candidate == "hazard" else blend(simple, fitted)

    def point(self, service: str) -> OperatingPoint:
        """The operating point in force for a service."""
        return self.points.get(service, self.points[""])

    def save(self, folder: Path) -> None:
        """Write everything but the manifest into an empty folder."""
        points = {service: asdict(point) for service, point in sorted(self.points.items())}
        content = {"candidate": self.candidate, "points": points}
        (folder / "points.json").write_text(json.dumps(content, indent=1, sort_keys=True))
        if self.hazard is not None:
            self.hazard.save(folder)
        if self.index is not None:
            self.index.save(folder / "templates.faiss")

    @classmethod
    def load(cls, folder: Path) -> "Champion":
        """Read what `save` wrote.

        Raises:
            MissingError: a file is missing or damaged.
        """
        try:
            content = json.loads((folder / "points.json").read_bytes())
            points = {name: OperatingPoint(**p) for name, p in content["points"].items()}
            if content["candidate"] not in CANDIDATES or "" not in points:
                raise ValueError("points.json")
            fitted = content["candidate"] != CANDIDATES[0]
            index = folder / "templates.faiss"
            return cls(
                content["candidate"],
                Hazard.load(folder) if fitted else None,
                points,
                TemplateIndex.load(index) if index.exists() else None,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MissingError(
                f"the model in {folder} cannot be loaded ({type(error).__name__}: {error}): "
                "run `noisegate doctor --fix`, or `noisegate retrain`"
            ) from None
