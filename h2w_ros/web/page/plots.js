// A number and its last ten seconds.

const SPAN_MS = 10000;

export class Plot {
  constructor(canvas, label, unit, floor) {
    Object.assign(this, { canvas, label, unit, floor });
    this.points = [];
  }

  add(value) {
    const now = performance.now();
    this.points.push([now, value]);
    while (this.points.length > 8 && this.points[0][0] < now - SPAN_MS) this.points.shift();
  }

  clear() {
    this.points = [];
  }

  draw(ink) {
    const { canvas, points } = this;
    const context = canvas.getContext("2d");
    const now = performance.now();
    context.clearRect(0, 0, canvas.width, canvas.height);
    const last = points.slice(-8).map(([, value]) => value).sort((a, b) => a - b);
    this.label.textContent = last.length ? `${last[last.length >> 1].toFixed(0)}${this.unit}` : "–";
    if (points.length < 2) return;
    const top = 1.15 * Math.max(this.floor, ...points.map(([, value]) => value));
    const place = ([time, value]) => [canvas.width * (1 - (now - time) / SPAN_MS), canvas.height - 3 - (canvas.height - 8) * (value / top)];
    context.beginPath();
    points.map(place).forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    Object.assign(context, { strokeStyle: ink, lineWidth: 3, lineJoin: "round" });
    context.stroke();
    context.lineTo(place(points.at(-1))[0], canvas.height);
    context.lineTo(place(points[0])[0], canvas.height);
    context.globalAlpha = 0.12;
    context.fillStyle = ink;
    context.fill();
    context.globalAlpha = 1;
  }
}
