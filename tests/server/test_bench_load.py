"""`prelabel bench load`: its model and its clients, on a real server."""

import asyncio

from prelabel.benchmarks import sleeping
from prelabel.benchmarks.crowd import metric, predict
from prelabel.benchmarks.load import Site, load


def test_a_batch_takes_longer_than_one_image_and_less_than_so_many():
    assert sleeping.batch_s(1) < sleeping.batch_s(8) < 8 * sleeping.batch_s(1)


def test_a_server_of_its_own_answers_with_the_sleeping_model(tmp_path):
    async def ask(port):
        answer = await predict(port, ["/data/local-files/?d=small/0.jpg"])
        return answer, await metric(port, "process_resident_memory_bytes")

    with sleeping.offered_in(tmp_path) as settings:
        site = Site(tmp_path, settings)
        site.write_images()
        with site.servers(DATA_DIR=str(tmp_path)) as (port,):
            answer, memory = asyncio.run(ask(port))
    assert answer.body["results"][0]["model_version"] == "sleeping"
    assert answer.seconds > sleeping.batch_s(1)
    assert memory > 10_000_000


def test_what_is_printed_names_its_method_and_its_errors(capsys):
    load(seconds=1, clients=20, replicas=2)
    printed = capsys.readouterr().out
    assert printed.startswith("machine: ")
    for row in ("one batch: 190 ms", "2 server(s), bulk", "20 x 200 with predictions, 0 malformed"):
        assert row in printed
