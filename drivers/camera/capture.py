"""The child that looks at a stream. Started by the camera driver as its own program, so that FFmpeg may hang or crash alone.

    LINESIDE_CAMERA=URL capture.py FD SLOTS MODE

The url stands in the environment: arguments are seen by everybody on the box, and a url may hold a password. It opens the
stream, sizes the shared memory behind FD to SLOTS pictures and says `height width` in one line. From then on each
byte on standard input asks for a picture in that slot; the answer is 17 bytes: slot, time (ns UTC) and a checksum of every
16th row. A `stream` is grabbed all the time, so that the answer is the first picture that began after the question; a `file`
moves on only when asked. It ends when its input does, or when the stream does.
"""

import mmap
import os
import select
import struct
import sys
import time
import zlib

RECORD = struct.Struct("<BqQ")


def main() -> int:
    url, fd, slots, mode = os.environ.pop("LINESIDE_CAMERA"), int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|fflags;nobuffer")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    local = url.startswith("v4l2:")
    camera = cv2.VideoCapture(url.removeprefix("v4l2:"), cv2.CAP_V4L2 if local else cv2.CAP_FFMPEG)
    camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    seen, image = camera.read()
    if not seen:
        print("no picture", flush=True)
        return 3
    height, width = image.shape[:2]
    os.ftruncate(fd, slots * height * width * 3)
    shared = np.frombuffer(mmap.mmap(fd, 0), np.uint8).reshape(slots, height, width, 3)
    print(height, width, flush=True)
    first: np.ndarray | None = image
    while True:
        wait = None if mode == "file" else 0
        asked = b""
        if select.select([0], [], [], wait)[0]:
            asked = os.read(0, slots)
            if not asked:
                return 0
        if first is not None and mode == "file":
            seen, image, first = True, first, None
        elif not camera.grab():
            return 4
        elif asked:
            seen, image = camera.retrieve()
        if not asked:
            continue
        if not seen or image.shape[:2] != (height, width):
            return 4
        now = time.time_ns() // 1000 * 1000
        check = zlib.crc32(image[::16].tobytes())
        for slot in asked:
            shared[slot] = image
            os.write(1, RECORD.pack(slot, now, check))


if __name__ == "__main__":
    sys.exit(main())
