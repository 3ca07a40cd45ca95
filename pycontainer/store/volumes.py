"""Named volumes: directories that outlive the containers that mount them.

volumes/           0700
└── NAME/          0700, so that set-user-id files in it are out of reach on the host
    └── data/      what is mounted; 0755 at first, then as the containers have it
"""

import os

from pycontainer.errors import InvalidState, NotFound
from pycontainer.linux.files import remove_tree
from pycontainer.paths import HostPaths
from pycontainer.spec.names import check_name, is_name


class Volumes:
    """The volumes of one world."""

    def __init__(self, paths: HostPaths) -> None:
        self._directory = paths.volumes_dir

    def get_or_create(self, name: str) -> str:
        """Return the directory of volume `name`, made on first use. Raises InvalidInput for a bad name."""
        check_name(name, "volume")
        for directory in (self._directory, f"{self._directory}/{name}"):
            os.makedirs(directory, 0o700, exist_ok=True)
        data = f"{self._directory}/{name}/data"
        try:
            os.mkdir(data, 0o755)
        except FileExistsError:
            return data
        os.chmod(data, 0o755)
        return data

    def list(self) -> list[str]:
        """Return the names of the volumes, in order."""
        try:
            return sorted(name for name in os.listdir(self._directory) if is_name(name))
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        """Delete a volume with all it holds. Raises NotFound; InvalidState when something is mounted in it."""
        check_name(name, "volume")
        directory = f"{self._directory}/{name}"
        if not os.path.isdir(directory):
            raise NotFound(f"no volume '{name}'")
        try:
            remove_tree(directory)
        except OSError as error:
            raise InvalidState(f"cannot remove volume '{name}' entirely: {error}") from error
