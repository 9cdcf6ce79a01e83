"""Every setting: its name, its type, its default, and the sentence that the docs have of it."""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from prelabel.settings.kinds import Addresses, Folder, Rate, Step, Token, Words

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Settings(BaseSettings):
    """Everything that can be set, with its default. The field descriptions are the docs."""

    model_config = SettingsConfigDict(
        env_file=".env",
        toml_file="prelabel.toml",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # Server
    bind_address: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(9090, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, description="Server processes; each loads its own models.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="How much is logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="How it is logged.")
    basic_auth_user: str = Field("", description="User that callers must give; empty for none.")
    basic_auth_pass: SecretStr = Field(SecretStr(""), description="Password that goes with it.")
    api_token: Token = Field(
        SecretStr(""), description="Token that callers may give as `Authorization: Bearer`."
    )
    secret_path: Step = Field(
        SecretStr(""),
        description="Path prefix that stands for the password, for webhooks that carry none: "
        "with `s3cret`, attach `http://host:9090/s3cret`.",
    )
    cors_origins: Words = Field((), description="Origins whose pages may call; `*` for all.")
    rate_limit: Rate = Field(
        "", description="Requests per caller, such as `600/minute`; empty for no limit."
    )
    max_body_mb: int = Field(256, ge=1, description="Largest request body, in MB.")
    allowed_hosts: Words = Field(
        (), description="Names besides `localhost` that a server without a password goes by."
    )
    forwarded_allow_ips: Addresses = Field(
        ("127.0.0.1", "::1"),
        description="Proxies whose `X-Forwarded-For` is believed; `*` for all.",
    )
    ssl_certfile: Path | None = Field(
        None, description="Certificate, with its chain, to serve HTTPS (PEM)."
    )
    ssl_keyfile: Path | None = Field(None, description="Its private key, not encrypted (PEM).")
    predict_deadline_seconds: float = Field(
        85.0,
        gt=0,
        le=3600,
        description="Time in which `/predict` answers; Label Studio waits 100 s.",
    )
    predict_threads: int = Field(8, ge=1, description="Predict requests worked on at a time.")
    model_hang_seconds: float = Field(
        600.0,
        ge=0,
        le=86_400,
        description="After so long on one batch a model hangs: `/live` fails, and whoever waits is "
        "let go; 0 for never.",
    )
    model_load_hang_seconds: float = Field(
        900.0,
        ge=0,
        le=86_400,
        description="After so long of loading a model, in which not a byte more of weights came, "
        "it hangs as well; 0 for never.",
    )
    max_queued_tasks: int = Field(
        20_000, ge=1, description="Tasks that may wait in one process; more are put off."
    )
    max_queued_mb: int = Field(
        512, ge=1, description="Memory of requests that wait, and as much of their images, in MB."
    )

    # Label Studio
    label_studio_url: str = Field("", description="Where Label Studio is, with its sub-path.")
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices(
            "label_studio_api_key", "label_studio_api_token", "label_studio_access_token"
        ),
        description="Personal access token or legacy token "
        "(also read: `LABEL_STUDIO_API_TOKEN`, `LABEL_STUDIO_ACCESS_TOKEN`).",
    )
    label_studio_username: str = Field("", description="Login, where there is no token.")
    label_studio_password: SecretStr = Field(SecretStr(""), description="Its password.")
    label_studio_aliases: Words = Field(
        (), description="Further addresses under which task data names the same Label Studio."
    )
    verify_ssl: bool | str = Field(
        True, description="Whether certificates are checked, or a file of authorities to trust."
    )

    # Images
    local_data_only: bool = Field(
        False,
        description="Whether nothing leaves this machine but to `LABEL_STUDIO_URL` and "
        "`FETCH_ALLOWED_HOSTS`: no other image is fetched, no model is downloaded.",
    )
    local_files_document_root: Folder | None = Field(
        None,
        validation_alias=AliasChoices(
            "local_files_document_root", "label_studio_local_files_document_root"
        ),
        description="Folder that `/data/local-files/?d=` is read from; unset asks Label Studio.",
    )
    fetch_allowed_hosts: Words = Field(
        (), description="Private hosts, addresses or networks that images may come from."
    )
    fetch_timeout_seconds: float = Field(
        30.0, gt=0, le=3600, description="Time for one image in all."
    )
    fetch_connect_timeout_seconds: float = Field(5.0, gt=0, le=3600, description="Time to connect.")
    fetch_max_redirects: int = Field(5, ge=0, description="Redirects followed per image.")
    fetch_threads: int = Field(16, ge=1, description="Images fetched at a time.")
    max_image_mb: int = Field(64, ge=1, description="Largest image file, in MB.")
    max_image_megapixels: float = Field(
        50.0, gt=0, le=10_000, description="Largest image, in megapixels."
    )
    image_cache_mb: int = Field(128, ge=0, description="Decoded images kept in memory, in MB.")

    # Boxes
    boxes_predictor: str = Field("grounding-dino", description="Predictor of boxes, by name.")
    grounding_dino_model_id: str = Field(
        "IDEA-Research/grounding-dino-tiny", description="Hub id or local folder of the model."
    )
    grounding_dino_device: str = Field("cpu", description="`cpu`, `cuda`, `cuda:1` or `mps`.")
    grounding_dino_box_threshold: float = Field(
        0.22, ge=0, le=1, description="Lowest score of a box."
    )
    grounding_dino_text_threshold: float = Field(
        0.20, ge=0, le=1, description="Half of the words that name a box must score more."
    )
    grounding_dino_max_detections: int = Field(20, ge=1, description="Most boxes per image.")
    grounding_dino_short_edge: int | None = Field(
        None, ge=224, description="Short edge the model sees, px; unset: 480 on CPU, 800 on GPU."
    )
    grounding_dino_autocast: Literal["auto", "on", "off"] = Field(
        "auto", description="16-bit arithmetic where the device has it."
    )
    grounding_dino_batch_size: int | None = Field(
        None, ge=1, description="Images per run; unset: 1 on CPU, more on GPU."
    )
    grounding_dino_threads: int | None = Field(
        None, ge=1, description="CPU threads of the model; unset: at most the cores there are."
    )
    # Poses
    poses_predictor: str = Field("rtmlib", description="Predictor of poses, by name.")
    mode: Literal["performance", "balanced", "lightweight"] = Field(
        "balanced", description="Pair of RTMLib models."
    )
    backend: Literal["onnxruntime", "openvino", "opencv"] = Field(
        "onnxruntime",
        validation_alias=AliasChoices("backend", "backend_type"),
        description="What runs the pose models (also read: `BACKEND_TYPE`).",
    )
    device: str = Field("cpu", description="`cpu`, `cuda`, `cuda:1` or `mps`, for pose models.")
    confidence_threshold: float = Field(0.3, ge=0, le=1, description="Lowest score of a keypoint.")
    model_dir: Path | None = Field(
        None, description="Folder of the pose models; unset: in the user's cache."
    )
    model_mirror: str = Field("", description="Mirror of the model host, asked first.")
    pose_detector: str = Field("", description="Person detector of your own, `.onnx` or `.zip`.")
    pose_model: str = Field("", description="Pose model of your own, `.onnx` or `.zip`.")
    pose_channel_order: Literal["rgb", "bgr"] = Field(
        "rgb", description="What pose models are fed; `bgr` as plain rtmlib does."
    )
    pose_detector_shape: Literal["rectangular", "square"] = Field(
        "rectangular", description="Input of the person detector; `square` pads as rtmlib does."
    )
    pose_precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="`bf16`: twice as fast with openvino on CPUs that have it, less exact."
    )
    pose_threads: int | None = Field(
        None, ge=1, description="CPU threads of one pose run; unset: cores divided by `WORKERS`."
    )

    # Learning from annotations
    sequence_learning_enabled: bool = Field(
        True, description="Whether accepted annotations of frames spread to their neighbours."
    )
    sequence_prefer_trained: bool = Field(
        True,
        description="What was learnt goes before what a model finds; false: it only fills frames "
        "in which the model found nothing.",
    )
    sequence_min_train_samples: int = Field(
        8, ge=1, description="Annotated objects of a label that a sequence needs to be learnt."
    )
    sequence_mode: Literal["auto", "knn", "linear", "local_linear"] = Field(
        "auto", description="How a track goes on between annotated frames."
    )
    sequence_k_neighbors: int = Field(
        4, ge=1, description="Annotated frames that `knn` and `local_linear` look at."
    )
    sequence_default_box_width_pct: float = Field(
        6.0, gt=0, le=100, description="Width that a lone keypoint counts as, percent of the image."
    )
    sequence_default_box_height_pct: float = Field(
        10.0, gt=0, le=100, description="Height that a lone keypoint counts as."
    )
    sequence_train_on_annotation_events: bool = Field(
        False, description="Whether each submitted annotation starts a training, soon after."
    )
    sequence_event_delay_seconds: float = Field(
        10.0, ge=0, le=3600, description="How long further annotations are waited for then."
    )

    # Store
    data_dir: Path | None = Field(
        None, description="Folder of the database and of reports; unset: in the user's data folder."
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="Database of jobs, learnt versions and runs, such as "
        "`postgresql+psycopg://user:password@host/prelabel`; unset: a SQLite file in `DATA_DIR`.",
    )
    prediction_store_mb: int = Field(
        256,
        ge=0,
        description="Findings kept in the database, so that no model looks at an image twice, in "
        "MB; 0 keeps none.",
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="Redis of the jobs, such as `redis://:password@host:6379/0`: they are then "
        "done by `prelabel worker`, on this machine or others; unset: by the server itself.",
    )
    worker_processes: int = Field(1, ge=1, description="Processes of `worker`.")
    worker_threads: int = Field(
        2, ge=1, description="Jobs of a kind that each of them does at a time; models are shared."
    )

    # Batch run
    project_id: int | None = Field(None, ge=1, description="Project of `run`.")
    task_limit: int | Literal["all"] | None = Field(
        None, description="Most tasks of `run`; unset: all (`create_predictions.py`: 1)."
    )
    start_task_id: int | None = Field(None, ge=0, description="First task id of `run`.")
    request_delay_seconds: float = Field(
        1.0, ge=0, le=3600, description="Pause between two bulk writes to Label Studio."
    )
    max_retries: int = Field(3, ge=0, description="How often a failed bulk write is repeated.")
    max_backoff_delay: float = Field(
        60.0, gt=0, le=3600, description="Longest pause between two attempts, in seconds."
    )
    remote_jpeg_quality: int = Field(
        90, ge=1, le=100, description="JPEG quality of images that `run --backend` sends."
    )
    remote_longest_side: int = Field(
        1280, ge=224, description="Longest side of images that `run --backend` sends, px."
    )

    # All models
    allow_downloads: bool = Field(True, description="Whether model weights may be fetched.")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("verify_ssl", mode="before")
    @classmethod
    def _truth(cls, value: object) -> object:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return words.get(value.lower(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_whole_login(self) -> Self:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass.get_secret_value()):
            raise ValueError(
                "BASIC_AUTH_USER and BASIC_AUTH_PASS go together; with one of them nobody is asked"
            )
        return self

    @model_validator(mode="after")
    def _has_whole_certificate(self) -> Self:
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError(
                "SSL_CERTFILE and SSL_KEYFILE go together; with one of them nothing is encrypted"
            )
        return self

    @model_validator(mode="after")
    def _keeps_data_here(self) -> Self:
        if self.local_data_only:
            if not self.label_studio_url:  # else whoever calls could say that he is Label Studio
                raise ValueError("LOCAL_DATA_ONLY needs LABEL_STUDIO_URL: name the one it may ask")
            self.__dict__["allow_downloads"] = False
        return self

    @field_validator("label_studio_url")
    @classmethod
    def _has_scheme(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("needs http:// or https:// in front")
        return value.rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence, first wins."""
        del file_secret_settings
        toml = TomlConfigSettingsSource(settings_cls)
        return init_settings, env_settings, dotenv_settings, toml

    @property
    def open_to_all(self) -> bool:
        """Whether others than this machine can reach the backend, and need no password."""
        # A login without a password is refused, but `doctor` looks at refused settings too.
        login = self.basic_auth_user and self.basic_auth_pass
        protected = login or self.api_token or self.secret_path
        return not self.for_this_machine and not protected

    @property
    def proxies(self) -> list[str]:
        """Addresses and networks of proxies; `*` is left out, the guard knows what it means."""
        return [entry for entry in self.forwarded_allow_ips if entry != "*"]

    @property
    def for_this_machine(self) -> bool:
        """Whether only programs on this machine can reach the backend."""
        return self.bind_address in _LOOPBACK

    @property
    def data_folder(self) -> Path:
        """Where files of this installation lie; not made yet."""
        if self.data_dir is not None:
            return self.data_dir
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return Path(base) / "prelabel"

    def options(self) -> dict[str, Any]:
        """All values keyed by environment name, as predictor factories are given them."""
        return {name.upper(): value for name, value in self}
