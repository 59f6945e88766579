"""Devices of named resources, as files of the host (TorchX's ``torchx.schedulers.devices``)."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.notices import notice
from topcoat.specs import DeviceMount
from topcoat.specs.named_resources_aws import EFA_DEVICE, NEURON_DEVICE

_DEVICE_FILES = {EFA_DEVICE: "/dev/infiniband/uverbs", NEURON_DEVICE: "/dev/neuron"}


def get_device_mounts(devices: Mapping[str, int]) -> list[DeviceMount]:
    """Return the mounts of *devices*, device plugin name to count; a notice names those that have no known file."""
    mounts = []
    for name, count in devices.items():
        if name in _DEVICE_FILES:
            paths = [f"{_DEVICE_FILES[name]}{number}" for number in range(count)]
            mounts += [DeviceMount(path, path) for path in paths]
        else:
            notice(f"the device {name} cannot be given to a container: ignored")
    return mounts
