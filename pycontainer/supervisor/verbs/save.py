"""image_save: images as an archive or a directory, through a descriptor of the client's: nothing is opened for it here."""

import contextlib
import os
import stat

from pycontainer.errors import InvalidInput
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.imagework import work
from pycontainer.supervisor.world import World

FORMATS = ("oci-archive", "oci-dir", "docker-archive")


async def image_save(world: World, call: Call) -> object:
    """Write images to the one descriptor of the request; progress comes as events."""
    with contextlib.ExitStack() as undo:
        fds = call.take_fds()
        for fd in fds:
            undo.callback(os.close, fd)
        images, form = call.texts("images"), call.text("format")
        if len(fds) != 1:
            raise InvalidInput("image_save needs one descriptor to write to", field="fds")
        if form not in FORMATS:
            raise InvalidInput(
                f"'{form}' is no format of images", hint=f"the formats are {', '.join(FORMATS)}", field="format"
            )
        if stat.S_ISDIR(os.fstat(fds[0]).st_mode) != (form == "oci-dir"):
            raise InvalidInput("oci-dir goes into a directory, the others into a file", field="format")
        if not images:
            raise InvalidInput("no image was named", field="images")
        request = {"images": images, "format": form, "fd": fds[0], "links": call.flag("links")}
        return await work(world, call, "save", request, fds)
