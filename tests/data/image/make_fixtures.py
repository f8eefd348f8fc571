#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the small pictures of this folder. Needs Pillow with WebP; run it here and commit what changes.

Every picture shows four quadrants - red, green above blue, white - or, in grey, 0, 85 above 170, 255.
"""
import io
import struct
import zlib

from PIL import Image

COLOURS = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]]
GREYS = [[0, 85], [170, 255]]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width, height, bits, colour_type, interlaced=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced))


def pack(samples, bits):
    """One row of samples to bytes, most significant bits first."""
    if bits == 16:
        return b"".join(struct.pack(">H", s) for s in samples)
    if bits == 8:
        return bytes(samples)
    text = "".join(format(s, f"0{bits}b") for s in samples)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))


def scanlines(pixel, xs, ys, bits):
    return b"".join(b"\0" + pack([s for x in xs for s in pixel(x, y)], bits) for y in ys)


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(width, height, bits, colour_type, pixel, before=b"", interlaced=0):
    if interlaced:
        raw = b""
        for left, top, step_x, step_y in ADAM7:
            xs, ys = range(left, width, step_x), range(top, height, step_y)
            if xs and ys:
                raw += scanlines(pixel, xs, ys, bits)
    else:
        raw = scanlines(pixel, range(width), range(height), bits)
    return (b"\x89PNG\r\n\x1a\n" + header(width, height, bits, colour_type, interlaced) + before +
            chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def save(name, data):
    with open(name, "wb") as file:
        file.write(data)
    print(f"{len(data):6} {name}")


def quadrants(width, height):
    picture = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            picture.putpixel((x, y), COLOURS[y * 2 // height][x * 2 // width])
    return picture


def encoded(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def make_png():
    def grey(bits):
        top = (1 << bits) - 1
        return lambda x, y: [GREYS[y // 4][x // 4] * top // 255]

    for bits in (1, 2, 4, 8, 16):
        save(f"grey{bits}.png", png(8, 8, bits, 0, grey(bits)))
    colour = lambda x, y: COLOURS[y // 4][x // 4]
    wide = lambda x, y: [c * 257 for c in colour(x, y)]
    index = lambda x, y: [y // 4 * 2 + x // 4]
    palette = chunk(b"PLTE", bytes(c for row in COLOURS for rgb in row for c in rgb))
    save("rgb8.png", png(8, 8, 8, 2, colour))
    save("rgb16.png", png(8, 8, 16, 2, wide))
    for bits in (2, 4, 8):
        save(f"palette{bits}.png", png(8, 8, bits, 3, index, palette))
    save("interlaced.png", png(13, 11, 8, 2, lambda x, y: [x * 16, y * 16, x * y], interlaced=1))
    # the right half fades: alpha 255 on the left, 128 on the right; the fourth quadrant is clear
    alpha = lambda x, y: 0 if x >= 4 and y >= 4 else 128 if x >= 4 else 255
    save("rgba8.png", png(8, 8, 8, 6, lambda x, y: [*colour(x, y), alpha(x, y)]))
    save("rgba16.png", png(8, 8, 16, 6, lambda x, y: [*wide(x, y), alpha(x, y) * 257]))
    save("grey_alpha8.png", png(8, 8, 8, 4, lambda x, y: [GREYS[y // 4][x // 4], alpha(x, y)]))
    save("grey_alpha16.png", png(8, 8, 16, 4, lambda x, y: [GREYS[y // 4][x // 4] * 257, alpha(x, y) * 257]))
    save("palette_alpha.png", png(8, 8, 8, 3, index, palette + chunk(b"tRNS", bytes([255, 128, 255, 0]))))
    save("grey_key.png", png(8, 8, 8, 0, grey(8), chunk(b"tRNS", struct.pack(">H", 255))))
    save("rgb_key.png", png(8, 8, 8, 2, colour, chunk(b"tRNS", struct.pack(">HHH", 255, 255, 255))))
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    save("exif6.png", png(8, 4, 8, 2, lambda x, y: COLOURS[y // 2][x // 4], chunk(b"eXIf", exif)))
    # 4 MB of text in 4 kB: never looked at
    text = b"k\0\0" + zlib.compress(bytes(4 << 20), 9)
    save("text_bomb.png", png(1, 1, 8, 0, lambda x, y: [7], chunk(b"zTXt", text)))
    save("bomb.png", b"\x89PNG\r\n\x1a\n" + header(30000, 30000, 8, 6) + chunk(b"IDAT", zlib.compress(bytes(64))) +
         chunk(b"IEND", b""))


def make_jpeg():
    picture = quadrants(32, 16)
    save("rgb.jpg", encoded(picture, "JPEG", quality=90, subsampling=0))
    save("progressive.jpg", encoded(picture, "JPEG", quality=90, progressive=True))
    save("grey.jpg", encoded(picture.convert("L"), "JPEG", quality=90))
    save("cmyk.jpg", encoded(picture.convert("CMYK"), "JPEG", quality=90))
    exif = Image.Exif()
    exif[0x0112] = 6
    save("exif6.jpg", encoded(picture, "JPEG", quality=90, subsampling=0, exif=exif))
    data = bytearray(encoded(picture, "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5:at + 9] = struct.pack(">HH", 30000, 30000)
    save("bomb.jpg", bytes(data))


def make_webp():
    picture = quadrants(32, 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("lossless.webp", encoded(picture, "WEBP", lossless=True))
    save("lossy.webp", encoded(picture, "WEBP", quality=80))
    save("exif6.webp", encoded(picture, "WEBP", lossless=True, exif=exif.tobytes()))
    faded = picture.copy()
    faded.putalpha(Image.eval(picture.convert("L"), lambda v: 0 if v == 255 else 128 if v > 140 else 255))
    save("alpha.webp", encoded(faded, "WEBP", lossless=True, exact=True))
    frames = [quadrants(8, 8), quadrants(8, 8).rotate(90)]
    save("animated.webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    extended = struct.pack("<4sI", b"VP8X", 10) + bytes(4) + (29999).to_bytes(3, "little") * 2
    save("bomb.webp", b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended)
    still = bytearray(encoded(picture, "WEBP", lossless=True))
    size = 16383 | 16383 << 14
    still[21:25] = struct.pack("<I", size)
    save("bomb_lossless.webp", bytes(still))


make_png()
make_jpeg()
make_webp()
