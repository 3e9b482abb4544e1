// A picture to the array that the model takes, to the bit as `MobileViTImageProcessor` makes it.
//
// A canvas resizes otherwise than Pillow, with which the model was trained, and that alone can move
// an answer; so the resize is here, in Pillow's way: the filter is as wide as the picture shrinks,
// its weights are fixed-point numbers, and rows are done before columns, with bytes in between.
// (Pillow 13 does columns first where the height shrinks much more than the width, which happens to
// pictures that are stretched only. There a byte may be another.)

const FIXED = 2 ** 22; // what a weight of 1 is

const FILTERS = {
  // by Pillow's numbers: how far the filter reaches in px, and its weight at distance x
  2: { name: "bilinear", reach: 1, weight: (x) => Math.max(1 - Math.abs(x), 0) },
  3: { name: "bicubic", reach: 2, weight: bicubic },
};

/**
 * Prepare one picture, a Blob of any image file that the browser reads.
 * `record` is what record.json holds. Gives the values and their dims: float32 [1, 3, H, W] scaled
 * and in the channel order of the weights, or uint8 RGB [1, H, W, 3], whichever the model takes.
 */
export async function prepare(blob, record) {
  const settings = record.processor;
  let image = await decode(blob);
  if (settings.do_resize) {
    const filter = FILTERS[settings.resample];
    if (!filter) {
      const known = Object.entries(FILTERS).map(([number, { name }]) => `${number} (${name})`);
      throw new Error(`the model wants Pillow's filter ${settings.resample}; here are ${known.join(", ")}.`);
    }
    image = resize(image, ...targetSize(image, settings.size), filter);
  }
  if (settings.do_center_crop) image = centerCrop(image, settings.crop_size);
  if (record.input === "uint8") {
    return { data: image.rgb, dims: [1, image.height, image.width, 3] };
  }
  return { data: planes(image, settings), dims: [1, 3, image.height, image.width] };
}

/** The upright picture on white, as { width, height, rgb }, three bytes a pixel. */
async function decode(blob) {
  const bitmap = await createImageBitmap(blob, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
  });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.fillStyle = "white";
  canvas.fillRect(0, 0, width, height);
  canvas.drawImage(bitmap, 0, 0);
  const rgba = canvas.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(3 * width * height);
  for (let i = 0, j = 0; i < rgba.length; i += 4) {
    rgb[j++] = rgba[i];
    rgb[j++] = rgba[i + 1];
    rgb[j++] = rgba[i + 2];
  }
  return { width, height, rgb };
}

/** Width and height to resize to. */
function targetSize({ width, height }, size) {
  if (size.height) return [size.width, size.height];
  const shortest = size.shortest_edge;
  if (!shortest || size.longest_edge) {
    throw new Error(`a size of ${Object.keys(size)} is not done here, only shortest_edge, or height and width.`);
  }
  const other = Math.floor((shortest * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? [shortest, other] : [other, shortest];
}

function resize(image, width, height, filter) {
  const { rgb } = image;
  const across = new Uint8Array(3 * width * image.height);
  weights(image.width, width, filter).forEach(({ first, taps }, x) => {
    for (let y = 0; y < image.height; y++) {
      blend(across, 3 * (y * width + x), rgb, 3 * (y * image.width + first), 3, taps);
    }
  });
  const both = new Uint8Array(3 * width * height);
  weights(image.height, height, filter).forEach(({ first, taps }, y) => {
    for (let x = 0; x < width; x++) {
      blend(both, 3 * (y * width + x), across, 3 * (first * width + x), 3 * width, taps);
    }
  });
  return { width, height, rgb: both };
}

/** For each output pixel the first input pixel that it is made of, and the weights from there on. */
function weights(from, to, { reach, weight }) {
  if (from === to) return Array.from({ length: to }, (_, first) => ({ first, taps: [FIXED] }));
  const scale = from / to;
  const wide = Math.max(scale, 1); // a picture that grows is not blurred
  const narrow = 1 / wide;
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - reach * wide + 0.5), 0);
    const last = Math.min(Math.trunc(center + reach * wide + 0.5), from);
    const exact = Array.from({ length: last - first }, (_, k) =>
      weight((first + k - center + 0.5) * narrow),
    );
    const sum = exact.reduce((a, b) => a + b, 0);
    const taps = exact.map((w) => {
      const fixed = (w / sum) * FIXED;
      return Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    });
    return { first, taps };
  });
}

/** One output pixel, its three channels. */
function blend(output, at, input, start, step, taps) {
  for (let channel = 0; channel < 3; channel++) {
    let sum = FIXED / 2;
    for (let k = 0, i = start + channel; k < taps.length; k++, i += step) sum += input[i] * taps[k];
    output[at + channel] = Math.min(Math.max(Math.floor(sum / FIXED), 0), 255);
  }
}

function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((x - 5) * x + 8) * x * a - 4 * a;
  return 0;
}

/** The middle; black where it reaches beyond the edges. */
function centerCrop(image, { width, height }) {
  const left = Math.floor((image.width - width) / 2);
  const top = Math.floor((image.height - height) / 2);
  const rgb = new Uint8Array(3 * width * height);
  for (let y = Math.max(-top, 0); y < Math.min(height, image.height - top); y++) {
    for (let x = Math.max(-left, 0); x < Math.min(width, image.width - left); x++) {
      const from = 3 * ((y + top) * image.width + x + left);
      rgb.set(image.rgb.subarray(from, from + 3), 3 * (y * width + x));
    }
  }
  return { width, height, rgb };
}

/** Bytes to floats, a plane for each channel. */
function planes({ width, height, rgb }, settings) {
  const factor = settings.do_rescale ? settings.rescale_factor : 1;
  const order = settings.do_flip_channel_order ? [2, 1, 0] : [0, 1, 2];
  const data = new Float32Array(rgb.length);
  order.forEach((channel, plane) => {
    const start = plane * width * height;
    for (let i = 0; i < width * height; i++) data[start + i] = rgb[3 * i + channel] * factor;
  });
  return data;
}
