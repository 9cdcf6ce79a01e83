"""Detectors of the Grounding DINO family with 220,000 random weights, made in a second."""

import pytest

from prelabel.benchmarks.random_grounding_dino import write_random_model

WHY = "install the extra grounding-dino to test with transformers"


@pytest.fixture(scope="session")
def tiny_grounding_dino(tmp_path_factory):
    """The folder of a Grounding DINO that opens like a real one and finds nothing of meaning."""
    transformers = pytest.importorskip("transformers", reason=WHY)
    folder = tmp_path_factory.mktemp("models") / "tiny-grounding-dino"
    config = transformers.GroundingDinoConfig(**_tiny_sizes(transformers))
    write_random_model(folder, config)
    return folder


@pytest.fixture(scope="session")
def tiny_mm_grounding_dino(tmp_path_factory):
    """The same of the other architecture of the family, which LLMDet has too."""
    transformers = pytest.importorskip("transformers", reason=WHY)
    folder = tmp_path_factory.mktemp("models") / "tiny-mm-grounding-dino"
    config = transformers.MMGroundingDinoConfig(**_tiny_sizes(transformers))
    write_random_model(folder, config)
    return folder


@pytest.fixture(scope="session")
def tiny_owlv2(tmp_path_factory):
    """The folder of a detector of another family, as far as it is read before its weights."""
    transformers = pytest.importorskip("transformers", reason=WHY)
    folder = tmp_path_factory.mktemp("models") / "tiny-owlv2"
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}
    transformers.Owlv2Processor(
        transformers.Owlv2ImageProcessorPil(), transformers.CLIPTokenizer(vocab=words, merges=[])
    ).save_pretrained(folder)
    transformers.Owlv2Config().save_pretrained(folder)
    return folder


def _tiny_sizes(transformers):

    return {
        "backbone_config": transformers.SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        "text_config": transformers.BertConfig(
            vocab_size=1100,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=37,
        ),
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_n_points": 2,
        "decoder_n_points": 2,
        "num_queries": 20,
        "max_text_len": 256,
    }
