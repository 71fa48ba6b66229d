"""Every setting: `NOISEGATE_*` in the environment, or `noisegate.toml` where it is run."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as UnreadableSettingError,
)

from noisegate.errors import SettingsError

SETTINGS_FILE = "noisegate.toml"
"""Read where a command is run."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

IGNORED_LABELS = (
    "replica",
    "pod",
    "pod_name",
    "container_id",
    "uid",
    "endpoint",
    "prometheus",
    "prometheus_replica",
    "instance_id",
)


class ServiceSettings(BaseModel, extra="forbid", frozen=True):
    """What one service asks for instead of the team's default: `[services.NAME]`."""

    transient_s: Seconds | None = Field(None, description="T of this service, seconds.")
    delay_budget_s: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Mean delay of this service's real alerts, seconds: a ceiling.",
    )
    max_hold_s: Seconds | None = Field(None, description="Longest hold for this service, seconds.")


class SourceSettings(BaseModel, extra="forbid", frozen=True):
    """How to read the team's own alert database (`ALERT_DB_URI`): `[source]` in noisegate.toml."""

    table: str | None = Field(None, description="Table or view to read, with its schema if any.")
    query: str | None = Field(None, description="A SELECT to read instead of a table.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our column name = theirs, such as starts_at = 'fired_at'.",
    )
    labels: list[str] = Field(default_factory=list, description="Their columns kept as labels.")
    updated_at: str | None = Field(
        None, description="Their column that grows with every change of a row (for increments)."
    )
    reread_days: float = Field(
        30.0,
        ge=0,
        le=36_500,
        description="Without updated_at: how far back rows are read again for late changes.",
    )


class ScrubPattern(BaseModel, extra="forbid", frozen=True):
    """One more kind of text to scrub: `[[scrub.patterns]]`."""

    id: str = Field(description="Its name, as `noisegate scrub --explain` shows it.")
    token: str = Field(description="Written in its place, as `<TOKEN>`: capitals, digits, _.")
    pattern: str = Field(
        description="Python regular expression, every repeat with an end; scrubbed is its group "
        "`(?P<x>...)` if it has one, else the whole match."
    )
    anchor: str = Field(
        "", description="Fixed text in every match that says where to look. Default: chosen."
    )
    ignore_case: bool = Field(False, description="Capitals and small letters are alike.")
    treatment: Literal["token", "pseudonym", "drop"] | None = Field(
        None, description="What is written. Default: as `default`, but `token` for `keep`."
    )
    examples: list[str] = Field(
        default_factory=list,
        description="Texts in which it must find what stands between ⟦ and ⟧, or the whole text.",
    )
    counter_examples: list[str] = Field(
        default_factory=list, description="Texts in which it must find nothing."
    )


class ScrubSettings(BaseModel, extra="forbid", frozen=True):
    """What is scrubbed and what is written instead: `[scrub]`; checked whole by `load_scrubber`."""

    default: Literal["token", "pseudonym", "drop", "keep"] = Field(
        "token", description="Treatment of every entity that `treatment` does not name."
    )
    treatment: dict[str, Literal["token", "pseudonym", "drop", "keep"]] = Field(
        default_factory=dict, description="Treatment of single entities, such as IPV4 = 'keep'."
    )
    key_file: Path | None = Field(
        None,
        description="File of mode 0600 with the pseudonyms' key, 16 to 64 bytes. Default: variable "
        "NOISEGATE_SCRUB_KEY.",
    )
    key_id: str = Field(
        "k1", description="Names the key in each pseudonym. Change it whenever the key changes."
    )
    names: Literal["off", "spacy", "transformers"] = Field(
        "off", description="Recogniser of persons' names in prose; slow."
    )
    names_model: str = Field("", description="Its model: a folder or an installed package.")
    allow: dict[str, list[str]] = Field(
        default_factory=dict,
        description="What stays, by entity: values; '@example.com' for EMAIL; networks for IPV4 "
        "and IPV6. Under `patterns`: of any entity what a regular expression matches whole.",
    )
    patterns: list[ScrubPattern] = Field(
        default_factory=list, description="More to scrub, each a table `[[scrub.patterns]]`."
    )


class Settings(BaseSettings):
    """Every setting, with its unit, its default and its help."""

    model_config = SettingsConfigDict(
        env_prefix="NOISEGATE_",
        env_nested_delimiter="__",
        toml_file=SETTINGS_FILE,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
    )

    # Where things are
    home: Path = Field(
        Path(".noisegate"), description="Everything of ours that is not in a database lies here."
    )
    db_url: str = Field(
        "", description="SQLAlchemy URL of our own store. Default: SQLite under the home."
    )
    alert_db_uri: str = Field(
        "",
        validation_alias=AliasChoices("ALERT_DB_URI", "NOISEGATE_ALERT_DB_URI", "alert_db_uri"),
        description="SQLAlchemy URL of the team's own alert database, read-only (variable "
        "ALERT_DB_URI). Default: our own store.",
    )
    source: SourceSettings = Field(
        default=SourceSettings(), description="How ALERT_DB_URI is read."
    )
    mlflow_tracking_uri: str = Field(
        "", description="MLflow tracking and registry URI. Default: SQLite under the home."
    )
    ray_address: str = Field(
        "",
        validation_alias=AliasChoices("RAY_ADDRESS", "NOISEGATE_RAY_ADDRESS", "ray_address"),
        description="Ray cluster to use (variable RAY_ADDRESS). Default: a local one for the run.",
    )
    ray_workers: int = Field(2, ge=1, description="CPUs of the local Ray.")

    # Identity
    identity_labels: list[str] = Field(
        default_factory=list,
        description="Labels that identify an alert series. Empty: all but the ignored ones.",
    )
    ignore_labels: list[str] = Field(
        list(IGNORED_LABELS), description="Labels that never identify an alert series."
    )
    replica_labels: list[str] = Field(
        default_factory=list,
        description="Labels that tell HA replicas of one Prometheus apart, such as 'replica'.",
    )
    group: str = Field(
        "auto",
        pattern=r"^(auto|name|service|label:.+)$",
        description="The level above the fingerprint: auto, name, service or label:NAME.",
    )
    max_bad_row_share: float = Field(
        0.05, ge=0, le=1, description="Over this share of bad rows nothing of an import lands."
    )

    scrub: ScrubSettings = Field(
        default=ScrubSettings(), description="What is scrubbed, and what is written instead."
    )

    # Promise
    transient_s: Seconds = Field(
        300.0, description="T: an alert that clears by itself within T seconds is transient."
    )
    delay_budget_s: float = Field(
        60.0,
        ge=0,
        allow_inf_nan=False,
        description="Mean delay of the team's real alerts, seconds.",
    )
    max_hold_s: Seconds | None = Field(
        None, description="Longest hold, seconds. Default: T less hold margin and route delay."
    )
    hold_margin_s: float = Field(
        5.0,
        ge=0,
        allow_inf_nan=False,
        description="Slack between the end of the longest hold and T, seconds.",
    )
    route_delay_s: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Alertmanager's own delay after a silence ends (group_interval), seconds.",
    )
    min_outcomes: int = Field(
        5, ge=0, description="Known outcomes below which an alert always pages."
    )
    never_hold: list[str] = Field(["critical"], description="Severities that are never held.")
    severities: list[str] = Field(
        ["critical", "error", "high", "warning", "medium", "low", "info", "none"],
        description="Severities that are ranked. An alert with another value is never held.",
    )
    protected_labels: dict[str, str] = Field(
        default_factory=dict,
        description="Labels (name = scrubbed value) whose alerts are never held.",
    )
    services: dict[str, ServiceSettings] = Field(
        default_factory=dict, description="What single services ask for instead."
    )

    # Learning
    train_alerts: int = Field(
        100_000, ge=1_000, description="Newest alerts a model is fitted on: memory stays flat."
    )
    tune_every_hours: float = Field(
        24.0, gt=0, le=8_760, description="How often operating points are chosen anew, hours."
    )
    retrain_every_days: float = Field(
        7.0, gt=0, le=365, description="How often models are fitted anew, days."
    )
    audit_texts: int = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="Distinct texts of a new snapshot that are scanned again before it is learned "
        "from.",
    )
    embedding_model: str = Field(
        "all-MiniLM-L6-v2",
        description="Sentence-transformers model: the bundled one, a local path or a hub name.",
    )
    seed: int = Field(7, ge=0, lt=2**31, description="Seed of everything random.")

    # Watching
    exporter_origin: str = Field(
        "live",
        pattern="^(live|simulated)$",
        description="Rows that the exporter counts: live, or simulated (the demo's).",
    )
    alerts_by: str = Field(
        "prometheus",
        pattern="^(prometheus|grafana)$",
        description="Who evaluates the SLO alerts: prometheus or grafana; the other's are paused.",
    )
    grafana_url: str = Field(
        "http://localhost:3000", description="Grafana's address in the links of alerts."
    )
    runbook_url: str = Field(
        "https://github.com/noisegate/noisegate/blob/main/docs/runbooks",
        description="Folder of the runbooks in the links of alerts.",
    )

    @field_validator("never_hold", "severities")
    @classmethod
    def _lower_case(cls, values: list[str]) -> list[str]:
        """Severities are compared in lower case: a floor must not fail on a capital letter."""
        return [value.lower() for value in values]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options first, then the environment, then noisegate.toml."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of our own store."""
        return self.db_url or f"sqlite:///{self.home.resolve() / 'noisegate.db'}"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking and registry URI."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home.resolve() / 'mlflow.db'}"


def load_settings(**overrides: object) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: names each setting that is wrong, its value and what is allowed.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except UnicodeDecodeError:
        raise SettingsError("settings: noisegate.toml is not UTF-8: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings: noisegate.toml is no TOML: {error}") from None
    except UnreadableSettingError as error:
        named = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(
            f"settings: {named[1] if named else 'a variable'} is no JSON: in the environment, "
            """write a list as '["critical"]' and a table as '{"team": "db"}'"""
        ) from None
    except ValidationError as error:
        faults = "; ".join(
            _fault(e["loc"], e["type"], e["input"], e["msg"]) for e in error.errors()
        )
        raise SettingsError(
            f"settings: {faults} (NOISEGATE_* variables or noisegate.toml; docs/configuration.md)"
        ) from None


def load_scrub_settings(path: Path) -> ScrubSettings:
    """Read the tables `[scrub]` of one file, and nothing else: neither its others, nor variables.

    A `key_file` is looked for beside the file.

    Raises:
        SettingsError: names the file, the setting, its value and what is allowed.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read ({error.strerror}): name another file"
        ) from None
    except ValueError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from None
    unknown = sorted(content.keys() - Settings.model_fields.keys())
    if unknown or "scrub" not in content:
        wrong = f"noisegate has no setting {unknown[0]!r}" if unknown else "there is no [scrub]"
        raise SettingsError(
            f"{path}: {wrong}: write [scrub] or tables in it, such as [scrub.allow]"
        )
    try:
        found = ScrubSettings.model_validate(content["scrub"])
    except ValidationError as error:
        faults = "; ".join(
            _fault(("scrub", *e["loc"]), e["type"], e["input"], e["msg"]) for e in error.errors()
        )
        raise SettingsError(f"{path}: {faults} (docs/configuration.md)") from None
    if found.key_file is None:
        return found
    return found.model_copy(update={"key_file": path.parent / found.key_file})


def _fault(where: tuple[int | str, ...], kind: str, value: object, message: str) -> str:
    name = ".".join(map(str, where))
    if name == "scrub.key":
        return "no such setting: scrub.key; set NOISEGATE_SCRUB_KEY, or scrub.key_file"
    # Its value is not shown: a misspelt name of a database URL has a password.
    return (
        f"no such setting: {name}"
        if kind == "extra_forbidden"
        else f"{name} = {value!r}: {message}"
    )
