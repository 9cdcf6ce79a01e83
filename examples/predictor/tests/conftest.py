"""Which predictor the tests of the contract look at."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let another predictor be named."""
    parser.addoption("--predictor", default="colour-blobs", help="name of its entry point")
