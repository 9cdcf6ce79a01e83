"""Grounding DINO answers for each image, whatever the model and the device do."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from structlog.testing import capture_logs

from prelabel.errors import (
    MissingPackage,
    ModelError,
    OutOfMemory,
    SettingsError,
    TaskError,
    WeightsUnavailable,
)
from prelabel.predictors.grounding_dino import GroundingDino, build
from prelabel.predictors.grounding_dino_network import (
    DeviceFailed,
    TransformersNetwork,
    open_network,
)
from prelabel.predictors.grounding_dino_options import GroundingDinoOptions
from prelabel.predictors.phrases import Reading, prompts_for
from prelabel.types import Ask, Detections, Image, Phrase

FACE = Phrase("distorted face", "body_distortion", "face")
HAND = Phrase("distorted hand", "body_distortion", "hand")
BODY = Phrase("full body", "body_distortion", "full_body")
ASK = Ask((FACE, HAND, BODY))


def noise(seed=0, height=240, width=320):
    rng = np.random.default_rng(seed)
    return Image(rng.integers(0, 256, (height, width, 3), np.uint8), f"frame {seed}")


def same(found, other, tolerance=1e-4):
    return (
        found.labels == other.labels
        and found.body_parts == other.body_parts
        and np.allclose(found.scores, other.scores, atol=tolerance)
        and np.allclose(found.boxes_xyxy, other.boxes_xyxy, atol=tolerance * 1000)
    )


# --- Settings ---------------------------------------------------------------------------------


def on(folder, **settings):
    """The predictor of a model folder, looking small, as `build` makes it."""
    small = {"GROUNDING_DINO_SHORT_EDGE": 224, "GROUNDING_DINO_THREADS": 1}
    return build(
        {
            "GROUNDING_DINO_MODEL_ID": str(folder),
            **small,
            **{key.upper(): value for key, value in settings.items()},
        }
    )


def test_without_settings_it_is_the_tiny_model_of_idea_with_an_empty_fingerprint():
    options = GroundingDinoOptions()
    assert options.name == "grounding-dino-tiny"
    assert options.fingerprint == ""
    assert (options.box_threshold, options.text_threshold) == (0.22, 0.20)
    assert (options.device, options.max_detections) == ("cpu", 20)


@pytest.mark.parametrize(
    ("changed", "matters"),
    [
        ({"model_id": "iSEE-Laboratory/llmdet_tiny"}, True),
        ({"box_threshold": 0.3}, True),
        ({"text_threshold": 0.3}, True),
        ({"max_detections": 5}, True),
        ({"short_edge": 640}, True),
        ({"autocast": "off"}, True),
        ({"device": "cuda"}, False),
        ({"batch_size": 8}, False),
        ({"threads": 1}, False),
        ({"allow_downloads": False}, False),
    ],
)
def test_the_fingerprint_changes_with_what_changes_the_findings(changed, matters):
    assert bool(GroundingDinoOptions(**changed).fingerprint) == matters


def test_a_folder_counts_by_what_is_in_it_wherever_it_lies(tmp_path):
    def fingerprint(content, name):
        weights = tmp_path / name / "model.safetensors"
        weights.parent.mkdir(exist_ok=True)
        weights.write_bytes(content)
        return GroundingDinoOptions(model_id=str(weights.parent)).fingerprint

    may = fingerprint(b"may", "one")
    assert fingerprint(b"may", "other") == may
    assert fingerprint(b"june!", "one") != may


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GROUNDING_DINO_MODEL_ID", ""),
        ("GROUNDING_DINO_DEVICE", "gpu"),
        ("GROUNDING_DINO_DEVICE", "cuda:x"),
        ("GROUNDING_DINO_BOX_THRESHOLD", 22),
        ("GROUNDING_DINO_TEXT_THRESHOLD", -0.1),
        ("GROUNDING_DINO_MAX_DETECTIONS", 0),
        ("GROUNDING_DINO_SHORT_EDGE", 223),
        ("GROUNDING_DINO_AUTOCAST", "half"),
        ("GROUNDING_DINO_BATCH_SIZE", 0),
        ("GROUNDING_DINO_THREADS", 0),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_name(name, value):
    with pytest.raises(SettingsError, match=name):
        build({name: value})


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_a_missing_package_is_said_at_once_with_the_command(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingPackage, match=rf'{package}.*pip install "prelabel\[grounding-dino\]"'
    ):
        build({})


def test_a_folder_that_does_not_exist_is_said_at_once(tmp_path):
    with pytest.raises(WeightsUnavailable, match="no such folder"):
        build({"GROUNDING_DINO_MODEL_ID": str(tmp_path / "nothing")})


def test_a_model_that_is_neither_cached_nor_allowed_to_be_fetched_is_said_at_once():
    with pytest.raises(WeightsUnavailable, match="hf download nobody/has-this"):
        build({"GROUNDING_DINO_MODEL_ID": "nobody/has-this", "ALLOW_DOWNLOADS": False})


def test_building_imports_neither_torch_nor_transformers(tiny_grounding_dino):
    program = (
        "import sys; from prelabel.predictors.grounding_dino import build;"
        f"build({{'GROUNDING_DINO_MODEL_ID': {str(tiny_grounding_dino)!r}}});"
        "print({'torch', 'transformers', 'PIL'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"


# --- The real code on a small model with random weights ------------------------------------------


@pytest.fixture(scope="module")
def tiny(tiny_grounding_dino):
    """A loaded predictor in float32 that keeps everything."""
    predictor = on(
        tiny_grounding_dino,
        grounding_dino_autocast="off",
        grounding_dino_box_threshold=0.0,
        grounding_dino_text_threshold=0.0,
    )
    predictor.load()
    return predictor


@pytest.fixture(scope="module")
def network(tiny_grounding_dino):
    return opened(tiny_grounding_dino)


def opened(folder, **options):
    wanted = {"device": "cpu", "short_edge": 224, "autocast": "off", "threads": 1} | options
    chosen = GroundingDinoOptions(model_id=str(folder), **wanted)
    return open_network(chosen, chosen.device)


def prompt_of(network, *phrases):
    return prompts_for(phrases, network.tokenize, network.delimiters, network.max_tokens)


def test_a_folder_is_loaded_once_and_finds_boxes_inside_the_image(tiny_grounding_dino):
    predictor = on(tiny_grounding_dino)
    assert predictor.health() == {"loaded": False, "device": "cpu", "reason": None}
    (found,) = predictor.predict([noise()], ASK)
    assert predictor.health() == {"loaded": True, "device": "cpu", "reason": None}
    assert 0 < len(found) <= 20
    assert (found.boxes_xyxy >= 0).all()
    assert (found.boxes_xyxy <= [320, 240, 320, 240]).all()
    assert set(found.labels) == {"body_distortion"}
    assert set(found.body_parts) <= {"face", "hand", "full_body"}
    assert found.source == predictor.name == "tiny-grounding-dino"


def test_a_model_in_the_hub_cache_loads_by_its_id_without_the_hub(
    tiny_grounding_dino, tmp_path, monkeypatch
):
    revision = tmp_path / "models--someone--tiny" / "snapshots" / ("0" * 40)
    revision.parent.mkdir(parents=True)
    revision.symlink_to(tiny_grounding_dino)
    reference = tmp_path / "models--someone--tiny" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    predictor = on("someone/tiny", allow_downloads=False)
    predictor.load()
    assert predictor.name == "tiny"


def test_mm_grounding_dino_works_by_changing_the_model_id(tiny_mm_grounding_dino):
    predictor = on(tiny_mm_grounding_dino)
    (found,) = predictor.predict([noise()], Ask(ASK.phrases, min_score=0.0))
    assert len(found) > 0
    assert predictor.name == "tiny-mm-grounding-dino"


def test_a_model_of_another_family_is_refused_with_the_families_that_work(tiny_owlv2):
    with pytest.raises(SettingsError, match=r"Owlv2Processor.*LLMDet"):
        on(tiny_owlv2).load()


@pytest.mark.parametrize("damage", ["empty", "no weights", "cut weights", "cut config"])
def test_a_damaged_folder_is_said_with_the_way_to_fill_it(tiny_grounding_dino, tmp_path, damage):
    if damage != "empty":
        for file in tiny_grounding_dino.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    if damage == "no weights":
        (tmp_path / "model.safetensors").unlink()
    if damage.startswith("cut"):
        file = tmp_path / {"cut weights": "model.safetensors", "cut config": "config.json"}[damage]
        file.write_bytes(file.read_bytes()[:100])
    predictor = on(tmp_path)
    with pytest.raises(WeightsUnavailable, match="--local-dir"):
        predictor.load()
    assert str(tmp_path) in predictor.health()["reason"]


def test_a_checkpoint_in_half_precision_still_runs_in_float32(tiny_grounding_dino, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = transformers.GroundingDinoForObjectDetection.from_pretrained(tiny_grounding_dino)
    for file in tiny_grounding_dino.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model.half().save_pretrained(tmp_path)
    assert str(opened(tmp_path)._model.dtype) == "torch.float32"


def test_a_batch_equals_its_images_one_by_one(network):
    images = [noise(seed).pixels_rgb for seed in range(3)]
    text = "distorted face. distorted hand."
    for together, image in zip(network.run(images, text), images, strict=True):
        (alone,) = network.run([image], text)
        assert together.probabilities == pytest.approx(alone.probabilities, abs=1e-4)
        assert together.boxes_cxcywh == pytest.approx(alone.boxes_cxcywh, abs=1e-4)


def test_images_of_mixed_sizes_are_answered_in_order_as_if_alone(tiny):
    images = [noise(0), noise(1, 300, 200), noise(2), noise(3, 64, 64), noise(4, 300, 200)]
    alone = [tiny.predict([image], ASK)[0] for image in images]
    assert all(map(same, tiny.predict(images, ASK), alone))


@pytest.mark.parametrize(
    "image_hw", [(240, 320), (1080, 1920), (1333, 800), (500, 500), (224, 999), (31, 47)]
)
def test_the_size_that_batches_are_made_by_is_the_size_that_the_model_sees(network, image_hw):
    pixels = network._pixels(noise(0, *image_hw).pixels_rgb)
    assert tuple(pixels.shape[2:]) == network.resized_hw(image_hw)


def test_phrases_stand_where_the_tokeniser_has_put_them(tiny_grounding_dino, network):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoProcessor.from_pretrained(tiny_grounding_dino).tokenizer
    (prompt,) = prompt_of(network, *ASK.phrases)
    ids = network.tokenize(prompt.text)
    spelt = [tokenizer.decode([ids[place] for place in span]) for span in prompt.spans]
    assert spelt == ["distorted face", "distorted hand", "full body"]


def test_a_score_comes_from_the_phrase_s_own_tokens_and_names_its_part(tiny, network):
    (prompt,) = prompt_of(network, *ASK.phrases)
    (reading,) = network.run([noise().pixels_rgb], prompt.text)
    (found,) = tiny.predict([noise()], ASK)
    parts = {phrase.body_part: span for phrase, span in zip(ASK.phrases, prompt.spans, strict=True)}
    for score, part in zip(found.scores, found.body_parts, strict=True):
        own = reading.probabilities[:, parts[part]].max(axis=1)
        assert np.isclose(own, score, atol=1e-5).any()


def test_boxes_are_those_of_the_library_s_own_post_processing(tiny, tiny_grounding_dino, network):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    processor = transformers.AutoProcessor.from_pretrained(tiny_grounding_dino)
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(tiny_grounding_dino)
    inputs = processor(
        images=noise().pixels_rgb,
        text=[[phrase.text for phrase in ASK.phrases]],
        size={"shortest_edge": 224, "longest_edge": 373},
        return_tensors="pt",
    )
    with torch.inference_mode():
        outputs = model.eval()(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        outputs, threshold=0, target_sizes=[(240, 320)]
    )
    theirs = np.clip(expected["boxes"].numpy(), 0, [320, 240, 320, 240])
    (found,) = tiny.predict([noise()], ASK)
    distances = np.abs(found.boxes_xyxy[:, None] - theirs[None]).max(axis=2)
    assert distances.min(axis=1).max() < 0.01


def test_the_thresholds_and_the_limit_bite(tiny_grounding_dino, tiny):
    (everything,) = tiny.predict([noise()], ASK)
    middle = float(np.median(everything.scores))
    off = {"grounding_dino_autocast": "off", "grounding_dino_text_threshold": 0.0}
    (strict,) = on(tiny_grounding_dino, grounding_dino_box_threshold=middle, **off).predict(
        [noise()], ASK
    )
    (few,) = on(tiny_grounding_dino, grounding_dino_max_detections=3, **off).predict([noise()], ASK)
    assert 0 < len(strict) < len(everything)
    assert strict.scores.min() >= middle
    assert few.scores == pytest.approx(everything.scores[:3])


def test_the_score_asked_for_takes_the_place_of_both_thresholds(tiny_grounding_dino, tiny):
    deaf = on(
        tiny_grounding_dino,
        grounding_dino_autocast="off",
        grounding_dino_box_threshold=1.0,
        grounding_dino_text_threshold=1.0,
    )
    assert len(deaf.predict([noise()], ASK)[0]) == 0
    (lowered,) = deaf.predict([noise()], Ask(ASK.phrases, min_score=0.0))
    assert same(lowered, tiny.predict([noise()], ASK)[0])
    (raised,) = tiny.predict([noise()], Ask(ASK.phrases, min_score=0.999))
    assert raised.scores.min() >= 0.999


@pytest.mark.parametrize("text", ["hand.", "Hand?", "HAND", "  hand\n", ". hand .."])
def test_marks_capitals_and_spaces_do_not_change_what_a_phrase_finds(tiny, text):
    phrases = (Phrase(text, "body_distortion", "hand"), FACE)
    (plain,) = tiny.predict([noise()], Ask((Phrase("hand", "body_distortion", "hand"), FACE)))
    (found,) = tiny.predict([noise()], Ask(phrases))
    assert same(found, plain)


def test_a_phrase_of_marks_alone_finds_nothing_and_breaks_nothing(tiny):
    (found,) = tiny.predict([noise()], Ask((Phrase("?..", "body_distortion"),)))
    assert len(found) == 0


def test_more_phrases_than_the_model_reads_are_asked_for_in_several_prompts(tiny, network):
    phrases = tuple(Phrase(f"very distorted thing {n}", f"label {n}") for n in range(60))
    assert len(prompt_of(network, *phrases)) > 1
    (found,) = tiny.predict([noise()], Ask(phrases))
    assert len(found) == 20
    (alone,) = tiny.predict([noise()], Ask(phrases[-1:]))
    assert len(alone) > 0


def test_a_phrase_longer_than_the_model_reads_is_each_image_s_error(tiny):
    long = Ask((Phrase("very " * 200 + "bad hand", "body_distortion"),))
    answers = tiny.predict([noise(0), noise(1)], long)
    assert [type(answer) for answer in answers] == [ModelError, ModelError]


@pytest.mark.parametrize("image_hw", [(1, 300), (300, 1), (7, 7)])
def test_an_image_too_thin_is_refused_and_the_others_are_answered(tiny, image_hw):
    refused, found = tiny.predict([noise(0, *image_hw), noise(1)], ASK)
    assert isinstance(refused, TaskError)
    assert "frame 0" in str(refused)
    assert isinstance(found, Detections)


@pytest.mark.parametrize(
    ("resized_hw", "readable"),
    [
        ((0, 800), False),
        ((192, 192), False),
        ((128, 256), False),
        ((208, 208), True),
        ((160, 288), True),
        ((480, 800), True),
    ],
)
def test_an_image_must_have_a_cell_for_each_of_the_real_models_900_candidates(
    network, resized_hw, readable
):
    config = SimpleNamespace(num_queries=900, num_feature_levels=4, max_text_len=256)
    real = network_of(network, SimpleNamespace(config=config))
    assert real.can_read(resized_hw) == readable


def test_autocast_finds_about_the_same_and_no_nan(tiny_grounding_dino, network):
    text = "distorted face. distorted hand."
    mixed = opened(tiny_grounding_dino, autocast="on")
    (reading,) = mixed.run([noise().pixels_rgb], text)
    (exact,) = network.run([noise().pixels_rgb], text)
    assert reading.is_finite
    assert not np.array_equal(reading.probabilities, exact.probabilities)
    distances = np.abs(reading.boxes_cxcywh[:, None] - exact.boxes_cxcywh[None]).max(axis=2)
    assert np.median(distances.min(axis=1)) < 0.01


def test_the_cpu_s_way_of_working_is_said_once_in_the_log(tiny_grounding_dino):
    predictor = on(tiny_grounding_dino, grounding_dino_autocast="off")
    with capture_logs() as logs:
        predictor.predict([noise()], ASK)
        predictor.predict([noise()], ASK)
    (ready,) = [line for line in logs if line["event"] == "grounding_dino_ready"]
    assert ready["device"] == "cpu"
    assert ready["short_edge"] == 224
    assert ready["precision"] == "fp32"
    assert ready["threads"] == 1


def test_four_threads_get_what_one_gets(tiny):
    images = [noise(seed) for seed in range(4)]
    alone = [tiny.predict([image], ASK)[0] for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda image: tiny.predict([image], ASK)[0], images * 3))
    assert all(map(same, together, alone * 3))


def test_a_device_that_is_not_there_is_given_up_for_the_cpu_loudly(tiny_grounding_dino):
    predictor = on(tiny_grounding_dino, grounding_dino_device="cuda:99")
    with capture_logs() as logs:
        predictor.load()
    assert [line["log_level"] for line in logs if line["event"] == "device_given_up"] == ["warning"]
    assert predictor.health()["device"] == "cpu"
    assert "cuda:99" in predictor.health()["reason"]


# --- What torch raises ------------------------------------------------------------------------


def network_of(network, model, device="cpu"):
    """The real network around another model; "meta" is torch's device without memory."""
    return TransformersNetwork(
        network._processor, model, device=device, short_edge=224, precision="fp32"
    )


def failing_model(network, error):
    def model(**_):
        raise error

    model.config = network._model.config
    return model


@pytest.mark.parametrize(
    "text",
    ["CUDA out of memory.", "CUDA error: out of memory", "MPS backend out of memory",
     "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."],
)  # fmt: skip
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_running_out_of_memory_is_recognised(network, text, device):
    broken = network_of(network, failing_model(network, RuntimeError(text)), device)
    with pytest.raises(OutOfMemory):
        broken.run([noise().pixels_rgb], "hand.")


def test_torch_s_own_memory_error_is_recognised(network):
    torch = pytest.importorskip("torch")
    broken = network_of(network, failing_model(network, torch.OutOfMemoryError("no room")))
    with pytest.raises(OutOfMemory):
        broken.run([noise().pixels_rgb], "hand.")


def test_an_error_before_the_first_success_speaks_against_the_device(network):
    error = RuntimeError("no kernel image is available for execution on the device")
    with pytest.raises(DeviceFailed, match="no kernel image"):
        network_of(network, failing_model(network, error), "meta").run([noise().pixels_rgb], "a.")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CUDA error: an illegal memory access was encountered", DeviceFailed),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", DeviceFailed),
        ("selected index k out of range", ModelError),
    ],
)
def test_after_a_success_only_an_error_of_the_device_speaks_against_it(network, text, kind):
    worked = network_of(network, failing_model(network, RuntimeError(text)), "meta")
    worked._has_worked = True
    with pytest.raises(kind):
        worked.run([noise().pixels_rgb], "hand.")


def test_on_the_cpu_an_error_speaks_against_the_image(network):
    error = RuntimeError("selected index k out of range")
    with pytest.raises(ModelError, match="selected index"):
        network_of(network, failing_model(network, error)).run([noise().pixels_rgb], "hand.")


# --- The predictor around a network with a memory ------------------------------------------------


class FakeNetwork:
    """Finds one box per image, at the place that its first pixel says; fails as it is told."""

    max_tokens = 16
    delimiters = frozenset({101, 102, 1012})

    def __init__(self, device="cpu", fail=lambda pixels: None, nan=()):
        self.device = device
        self.fail = fail
        self.nan = nan
        self.runs = []

    def tokenize(self, text):
        words = text.replace(".", " . ").split()
        return [101, *(1012 if word == "." else 2000 for word in words), 102]

    def resized_hw(self, image_hw):
        return image_hw

    def can_read(self, resized_hw):
        return True

    def run(self, images_rgb, text):
        firsts = [int(image[0, 0, 0]) for image in images_rgb]
        self.runs.append(firsts)
        error = self.fail(firsts)
        if error is not None:
            raise error
        return [self.reading(first, text) for first in firsts]

    def reading(self, first, text):
        probabilities = np.full((1, len(self.tokenize(text))), 0.5, np.float32)
        x = np.nan if first in self.nan else first / 10
        return Reading(probabilities, np.array([[x, 0.5, 0.1, 0.5]], np.float32))


def marked(first, height=100, width=100):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[0, 0, 0] = first
    return Image(pixels, f"image {first}")


def through(network, **options):
    """A predictor on a network that stands ready, and on CPU where its device fails."""
    return GroundingDino(GroundingDinoOptions(device=network.device, **options), lambda *_: network)


def places(answers):
    """Which image each answer belongs to, by the place of its box; errors by their class."""
    return [
        round(float(answer.boxes_xyxy[0, [0, 2]].mean()) / 10)
        if isinstance(answer, Detections)
        else type(answer)
        for answer in answers
    ]


def out_of_memory(count):
    return OutOfMemory(f"{count} images", "no room", "Free memory.")


@pytest.mark.parametrize("ask", [Ask(), Ask(min_score=0.1)])
def test_asked_for_nothing_it_finds_nothing_without_loading(ask):
    predictor = GroundingDino(GroundingDinoOptions(), lambda *_: pytest.fail("loaded"))
    assert predictor.predict([], ASK) == []
    (found,) = predictor.predict([noise()], ask)
    assert len(found) == 0


def test_on_cuda_images_of_one_size_share_a_run_and_answers_keep_their_order():
    network = FakeNetwork("cuda")
    images = [marked(1), marked(2, 100, 101), marked(3), marked(4), marked(5), marked(6)]
    assert places(through(network).predict(images, ASK)) == [1, 2, 3, 4, 5, 6]
    assert network.runs == [[1, 3, 4, 5], [6], [2]]


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_elsewhere_each_image_has_its_own_run(device):
    network = FakeNetwork(device)
    predictor = through(network, batch_size=8)
    predictor.predict([marked(1), marked(2)], ASK)
    assert predictor.batch_size == 1
    assert network.runs == [[1], [2]]


def test_out_of_memory_halves_the_batch_and_remembers_it():
    network = FakeNetwork("cuda", lambda firsts: out_of_memory(4) if len(firsts) > 2 else None)
    predictor = through(network, batch_size=8)
    assert places(predictor.predict([marked(n) for n in range(1, 9)], ASK)) == [*range(1, 9)]
    assert [len(run) for run in network.runs] == [8, 4, 2, 2, 4, 2, 2]
    assert predictor.batch_size == 2
    predictor.predict([marked(1), marked(2), marked(3)], ASK)
    assert [len(run) for run in network.runs[7:]] == [2, 1]


def test_an_image_without_room_even_alone_is_its_own_error():
    network = FakeNetwork("cuda", lambda firsts: out_of_memory(1) if 2 in firsts else None)
    answers = through(network).predict([marked(1), marked(2), marked(3)], ASK)
    assert places(answers) == [1, OutOfMemory, 3]
    assert answers[1].thing == "image 2"


def test_an_image_that_the_model_fails_on_does_not_lose_the_others_of_its_batch():
    network = FakeNetwork(
        "cuda", lambda firsts: ModelError("x", "y", "z.") if 3 in firsts else None
    )
    predictor = through(network)
    answers = predictor.predict([marked(n) for n in (1, 2, 3, 4)], ASK)
    assert places(answers) == [1, 2, ModelError, 4]
    assert predictor.batch_size == 4


def test_nan_is_an_error_of_its_image():
    answers = through(FakeNetwork(nan=(2,))).predict([marked(1), marked(2)], ASK)
    assert places(answers) == [1, ModelError]
    assert "NaN" in str(answers[1])


def test_each_prompt_is_asked_for_where_one_is_not_enough():
    network = FakeNetwork()
    phrases = tuple(Phrase(f"a phrase of words {n}", f"label {n}") for n in range(4))
    (found,) = through(network).predict([marked(1)], Ask(phrases))
    assert network.runs == [[1], [1]]
    assert len(found) == 1


class Devices:
    """Opens networks; the first device asked for fails at load or at its first runs."""

    def __init__(self, *, at_load):
        self.at_load = at_load
        self.opened = []

    def __call__(self, options, device):
        self.opened.append(device)
        failure = DeviceFailed("CUDA error: the driver is too old")
        if device == "cpu":
            return FakeNetwork()
        if self.at_load:
            raise failure
        return FakeNetwork(device, lambda firsts: failure)


@pytest.mark.parametrize("at_load", [True, False])
def test_a_broken_device_is_given_up_for_the_cpu_once_and_no_image_is_lost(at_load):
    devices = Devices(at_load=at_load)
    predictor = GroundingDino(GroundingDinoOptions(device="cuda"), devices)
    with capture_logs() as logs:
        assert places(predictor.predict([marked(1), marked(2)], ASK)) == [1, 2]
        assert places(predictor.predict([marked(3)], ASK)) == [3]
    assert devices.opened == ["cuda", "cpu"]
    assert [line["event"] for line in logs] == ["device_given_up"]
    assert predictor.health()["device"] == "cpu"
    assert "driver is too old" in predictor.health()["reason"]
    assert predictor.batch_size == 1


def test_threads_that_come_first_together_load_it_once():
    opened_on = []
    predictor = GroundingDino(
        GroundingDinoOptions(), lambda _, device: opened_on.append(device) or FakeNetwork()
    )
    start = threading.Barrier(4)

    def look(number):
        start.wait()
        return predictor.predict([marked(number)], ASK)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(look, range(1, 5)))
    assert opened_on == ["cpu"]
    assert [places(answer) for answer in answers] == [[1], [2], [3], [4]]


def test_health_answers_while_an_image_is_looked_at():
    looking, finish = threading.Event(), threading.Event()

    def wait(_):
        looking.set()
        assert finish.wait(10)

    predictor = through(FakeNetwork(fail=wait))
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(predictor.predict, [marked(1)], ASK)
        assert looking.wait(10)
        assert predictor.health()["loaded"] is True
        assert predictor.batch_size == 1
        finish.set()
        assert places(answer.result(10)) == [1]


def test_a_failed_load_is_tried_again_and_its_reason_shown():
    attempts = iter([WeightsUnavailable("model", "not here", "Fetch it."), FakeNetwork()])

    def open_on(*_):
        outcome = next(attempts)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    predictor = GroundingDino(GroundingDinoOptions(), open_on)
    with pytest.raises(WeightsUnavailable):
        predictor.load()
    assert "not here" in predictor.health()["reason"]
    predictor.load()
    assert predictor.health() == {"loaded": True, "device": "cpu", "reason": None}


def test_a_hub_that_cannot_be_reached_is_given_up_at_once(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants", reason="comes with transformers")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(WeightsUnavailable, match="the hub cannot be asked"):
        build({"GROUNDING_DINO_MODEL_ID": "nobody/nothing"}).load()
    assert time.monotonic() - started < 20
