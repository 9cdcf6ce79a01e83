"""Whom the network policies let in and out, decided as Kubernetes describes it."""

from ipaddress import ip_address, ip_network

import pytest

from .kustomize import SERVER, WORKER, manifests


def reaches(rendered, direction, labels, peer, port):
    """Whether the network policies let a pod reach, or be reached by, a namespace or an address."""
    policies = [one["spec"] for one in rendered.of("NetworkPolicy")]
    chosen = [
        one
        for one in policies
        if direction.title() in one["policyTypes"]
        and one["podSelector"]["matchLabels"].items() <= labels.items()
    ]
    ends = {"ingress": "from", "egress": "to"}[direction]
    rules = [rule for one in chosen for rule in one.get(direction, [])]
    return not chosen or any(
        port in [one["port"] for one in rule["ports"]]
        and any(is_peer(one, peer) for one in rule[ends])
        for rule in rules
    )


def is_peer(entry, peer):
    """Whether a rule's entry means an address, or a pod, told by labels of it or its namespace."""
    if "podSelector" in entry:
        return isinstance(peer, dict) and is_selected(entry["podSelector"], peer)
    if "namespaceSelector" in entry:
        return isinstance(peer, dict) and is_selected(entry["namespaceSelector"], peer)
    if isinstance(peer, dict):
        return False
    block, address = entry["ipBlock"], ip_address(peer)
    inside = [ip_network(one) for one in (block["cidr"], *block.get("except", ()))]
    assert all(one.subnet_of(inside[0]) for one in inside)
    return address in inside[0] and not any(address in one for one in inside[1:])


def is_selected(selector, labels):
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def namespace(name):
    return {"kubernetes.io/metadata.name": name}


@pytest.mark.parametrize(
    ("labels", "peer", "may"),
    [
        (SERVER, namespace("label-studio"), True),
        (SERVER, namespace("ingress-nginx"), True),
        (SERVER, namespace("monitoring"), True),
        (SERVER, namespace("studio") | {"prelabel/client": "true"}, True),
        (SERVER, WORKER, True),
        (SERVER, namespace("default"), False),
        (SERVER, "203.0.113.9", False),
        (WORKER, namespace("label-studio"), False),
        (WORKER, SERVER, False),
    ],
)
def test_only_who_is_named_reaches_a_server_and_nobody_a_worker(labels, peer, may):
    rendered = manifests("base")
    (port,) = [one["name"] for one in rendered.container("prelabel-server")["ports"]]
    assert reaches(rendered, "ingress", labels, peer, port) is may


@pytest.mark.parametrize(
    ("peer", "port", "may"),
    [
        (namespace("kube-system"), 53, True),
        ("169.254.20.10", 53, True),
        (namespace("label-studio"), 8080, True),
        (SERVER, 9090, True),
        (namespace("databases"), 5432, True),
        (namespace("databases"), 6379, True),
        ("10.20.30.40", 5432, True),
        ("93.184.215.14", 443, True),
        ("2606:2800:21f:cb07::1", 443, True),
        ("64:ff9b::5db8:d70e", 443, True),
        ("93.184.215.14", 22, False),
        (namespace("default"), 80, False),
        (WORKER, 9090, False),
        ("10.0.0.1", 443, False),
        ("127.0.0.1", 80, False),
        ("169.254.169.254", 80, False),
        ("169.254.169.254", 5432, False),
        ("169.254.20.10", 80, False),
        ("100.100.100.200", 80, False),
        ("168.63.129.16", 80, False),
        ("192.0.0.192", 80, False),
        ("fd00:ec2::254", 80, False),
        ("fe80::a9fe:a9fe", 80, False),
        ("64:ff9b::a9fe:a9fe", 80, False),
    ],
)
@pytest.mark.parametrize("labels", [SERVER, WORKER])
def test_a_pod_reaches_what_it_needs_and_no_metadata_service(labels, peer, port, may):
    assert reaches(manifests("base"), "egress", labels, peer, port) is may
