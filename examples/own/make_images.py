"""Stands for your own images: the scanned digits as a folder, images/<split>/<class>/<file>."""

from pathlib import Path

import storage

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def main() -> None:
    """Write the folder beside this file."""
    folder = Path(__file__).parent / "images"
    for split in ("train", "test"):
        images = storage.open_images("digits", split)
        encoded = images.read(range(len(images)))["image"].to_pylist()
        for path, content, label in zip(images.paths, encoded, images.labels, strict=True):
            file = folder / split / NAMES[label] / Path(path).name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    print(f"{folder}: {len(list(folder.rglob('*.png')))} images of {len(NAMES)} classes")


if __name__ == "__main__":
    main()
