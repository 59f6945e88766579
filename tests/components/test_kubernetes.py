from __future__ import annotations

from tests.components.images import Image
from tests.components.kubernetes import Kubernetes
from tests.components.registries import Registry


def test_a_pod_runs_an_image_of_the_local_registry(
    kubernetes: Kubernetes, registry: Registry, busybox_image: Image
) -> None:
    image = busybox_image.push(registry, registry.unique("pod"))
    namespace = kubernetes.make_namespace()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": image.reference, "command": ["sh", "-c", "echo hello"]}],
        },
    }
    kubernetes.apply(pod)
    kubernetes.until(lambda: kubernetes.get("-n", namespace, "pod/p")["status"]["phase"] == "Succeeded")
    assert kubernetes.ctl("-n", namespace, "logs", "p") == "hello"


def test_the_add_ons_serve_their_kinds(kueue: Kubernetes) -> None:
    kinds = kueue.ctl("api-resources", "-o", "name").split()
    assert {"jobsets.jobset.x-k8s.io", "workloads.kueue.x-k8s.io"} <= set(kinds)
