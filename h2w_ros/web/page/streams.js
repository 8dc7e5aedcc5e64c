// Pictures from the socket onto canvases. One decoder a stream; every picture that was shown is acknowledged, which paces the server.

export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return [about, new Uint8Array(buffer, 4 + length)];
}

export async function decodesH264(codec) {
  if (!("VideoDecoder" in window)) return false;
  try {
    return (await VideoDecoder.isConfigSupported({ codec, optimizeForLatency: true })).supported === true;
  } catch {
    return false;
  }
}

export class Screen {
  // `onShown(about)` is called when a picture is on the canvas; `onBroken()` when H.264 can't be decoded after all.
  // `isWanted(about)` says of late pictures whether they still belong on the canvas.
  constructor(canvas, codec, isWanted, onShown, onBroken) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.codec = codec;
    this.isWanted = isWanted;
    this.onShown = onShown;
    this.onBroken = onBroken;
    this.decoder = null;
    this.underWay = new Map();
  }

  async take(about, data) {
    if (about.codec === "h264") return this.decode(about, data);
    const picture = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    this.draw(picture, about);
  }

  decode(about, data) {
    if (about.key && (!this.decoder || this.decoder.state !== "configured")) this.open();
    if (!this.decoder || this.decoder.state !== "configured") return;
    this.underWay.set(about.number, about);
    this.decoder.decode(new EncodedVideoChunk({ type: about.key ? "key" : "delta", timestamp: about.number, data }));
  }

  open() {
    this.underWay.clear();
    this.decoder = new VideoDecoder({
      output: (frame) => {
        const about = this.underWay.get(frame.timestamp);
        this.underWay.delete(frame.timestamp);
        if (about) this.draw(frame, about);
        else frame.close();
      },
      error: () => this.onBroken(),
    });
    this.decoder.configure({ codec: this.codec, optimizeForLatency: true });
  }

  draw(picture, about) {
    if (!this.isWanted(about)) {
      picture.close();
      this.onShown(about);
      return;
    }
    const width = picture.displayWidth ?? picture.width;
    const height = picture.displayHeight ?? picture.height;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.context.drawImage(picture, 0, 0, width, height);
    picture.close();
    this.onShown(about);
  }
}

const CHAINS = [[0, 1, 2, 3, 17], [0, 4, 5, 6, 18], [0, 10, 11, 12, 19], [0, 7, 8, 9, 20], [0, 13, 14, 15, 16]];

// A dark line under a light one is seen on any picture, and costs less to draw than a shadow.
export function drawHands(svg, hands) {
  const lines = hands.flatMap((points) => CHAINS.map((chain) => "M" + chain.map((joint) => points[joint].join(" ")).join("L"))).join("");
  for (const kind of svg.childElementCount ? [] : ["under", "bone"]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", kind);
    svg.append(path);
  }
  for (const path of svg.children) path.setAttribute("d", lines);
}
