#!/usr/bin/env python3
"""The 64x64 pictures in an archive of emoji-datasource-google, in a folder for each category.

    python scripts/data/emoji.py ARCHIVE FOLDER

Called by scripts/data/emoji64. Needs nothing but Python.
"""

import json
import sys
import tarfile
from pathlib import Path

PICTURES = "package/img/google/64/"


def main() -> None:
    archive, folder = sys.argv[1:]
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and (member.name.startswith(PICTURES) or member.name == "package/emoji.json"):
                files[member.name] = tar.extractfile(member).read()
    count = 0
    for emoji in json.loads(files["package/emoji.json"]):
        category = emoji["category"].replace(" & ", "-and-")
        for one in [emoji, *emoji.get("skin_variations", {}).values()]:
            picture = files.get(PICTURES + one["image"])
            if picture is not None:
                path = Path(folder) / category / Path(one["image"]).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(picture)
                count += 1
    print(f"{count} pictures in {len(list(Path(folder).iterdir()))} classes")


if __name__ == "__main__":
    main()
