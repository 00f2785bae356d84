// Slices as the node decodes them, and how they are shown. Pixel (row, col) has its centre at (col + 0.5, row + 0.5).
const KINDS = { uint16: Uint16Array, int16: Int16Array, float32: Float32Array };

export async function load(series, number) {
  const answer = await fetch(`/series/${series}/slices/${number}`, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(await said(answer));
  const kind = KINDS[answer.headers.get("x-type")];
  return {
    rows: Number(answer.headers.get("x-rows")),
    columns: Number(answer.headers.get("x-columns")),
    digest: answer.headers.get("x-pixels"),
    values: new kind(await answer.arrayBuffer()),
  };
}

// What the node says of an error: a sentence where it is JSON, else its status.
export async function said(answer) {
  const json = answer.headers.get("content-type")?.startsWith("application/json");
  return json ? (await answer.json()).error : `${answer.status}`;
}

export function range(slice, low = 0.01, high = 0.995) {
  const sorted = Float32Array.from(slice.values).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return { low: at(low), high: Math.max(at(high), at(low) + 1) };
}

export function draw(canvas, slice, { low, high }) {
  canvas.width = slice.columns;
  canvas.height = slice.rows;
  const image = new ImageData(slice.columns, slice.rows);
  const scale = 255 / (high - low);
  for (let at = 0, to = 0; at < slice.values.length; at += 1, to += 4) {
    const grey = (slice.values[at] - low) * scale;
    image.data[to] = image.data[to + 1] = image.data[to + 2] = grey;
    image.data[to + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Mean and SD of the pixels whose centres lie in a circle: as the node computes them.
export function inside(slice, [row, col, radius]) {
  let n = 0, sum = 0, squares = 0;
  for (let r = Math.max(0, Math.ceil(row - radius)); r <= Math.min(slice.rows - 1, row + radius); r += 1) {
    for (let c = Math.max(0, Math.ceil(col - radius)); c <= Math.min(slice.columns - 1, col + radius); c += 1) {
      if ((r - row) ** 2 + (c - col) ** 2 > radius ** 2) continue;
      const value = slice.values[r * slice.columns + c];
      n += 1; sum += value; squares += value * value;
    }
  }
  const mean = sum / n;
  return { n, mean, sd: Math.sqrt(Math.max(0, squares - n * mean * mean) / (n - 1)) };
}
