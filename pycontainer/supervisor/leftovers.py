"""What operations leave that were cut off, and that no record tells of: found by its name when a supervisor comes up.

Nobody else can be at it then, so nothing has to be of some age; `doctor` (storagecheck.py) finds the same later.
"""

import os
from typing import TYPE_CHECKING

from pycontainer.errors import PycontainerError
from pycontainer.store.refs import is_transit_name
from pycontainer.supervisor import log
from pycontainer.supervisor.imagework import erase_later
from pycontainer.supervisor.storagecheck import runs, temporaries

if TYPE_CHECKING:
    from pycontainer.runtime.container import Container
    from pycontainer.supervisor.world import World


def sweep(world: "World") -> None:
    """Take away what belongs to nobody, and make networks and containers say the same; the records have been read."""
    for finding in (*temporaries(world, young=True), *runs(world)):
        try:
            os.unlink(finding.where)
            world.repaired.append(f"{finding.kind}: {finding.where}")
        except OSError as error:
            log.say(f"{finding.kind}: {error}")
    for container_id in world.networks.reserved() - {*world.containers, *world.broken}:
        world.networks.release(container_id)
        world.repaired.append(f"addresses of a container that is gone: {container_id}")
    for container in world.containers.values():
        try:
            _agree(world, container)
        except OSError as error:  # a full disk keeps nobody from coming up
            log.say(f"network of container '{container.spec.name}': {error}", container=container)


def _agree(world: "World", container: "Container") -> None:
    """Let the networks' record and the container's say the same."""
    if not world.networks.has_reservation(container.id):
        return
    if world.networks.name_of(container.id) != container.spec.name:  # a rename was cut off
        world.networks.rename(container.id, container.spec.name)
    if (addresses := world.networks.addresses(container.id)) != container.addresses:  # a connect or disconnect was
        container.addresses = addresses
        container.save()


def finish_images(world: "World") -> None:
    """Name the images of instances whose import was cut off; images for the time of one export, and what none needs, go."""
    try:
        left = [image for image in world.images.list() if is_transit_name(image["name"])]
        for image in left:
            for container in world.containers.values():
                if container.image is not None and container.image.id == image["id"]:
                    world.images.tag(image["name"], container.image.name)
            erase_later(world, world.images.retire(image["name"], world.images_in_use()))
        erase_later(world, world.images.retire_left_over(world.images_in_use()))
    except (OSError, PycontainerError) as error:
        log.say(f"images that were left over: {error}")
