"""A program in an image as Kubernetes and compose.yaml run it: as a user without any right, on a root that cannot be written."""

from pathlib import Path

SCRIPT = """
set -eu
root=$1 state=$2 user=$3 folder=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$state" "$root/var/lib/evergreen"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
    env --chdir="$folder" "$@"
"""


def command(root: Path, state: Path, user: str, folder: str, program: list[str]) -> list[str]:
    """Run `program` in `folder` of the tree at `root`, with `state` as what it may write. It ends when this command does."""
    isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child=TERM"]
    return [*isolate, "sh", "-c", SCRIPT, "sh", str(root), str(state), user, folder, *program]
