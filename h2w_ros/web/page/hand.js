// The visitor's hand: mouse, touch, keys and sliders all change one wish, which is sent when it has changed.

const KEYS = {
  ArrowLeft: ["u", -0.55], ArrowRight: ["u", 0.55], ArrowUp: ["v", -0.55], ArrowDown: ["v", 0.55],
  KeyA: ["u", -0.55], KeyD: ["u", 0.55], KeyW: ["v", -0.55], KeyS: ["v", 0.55],
  KeyR: ["height_m", 0.25], KeyF: ["height_m", -0.25],
  KeyQ: ["turn_rad", 1.6], KeyE: ["turn_rad", -1.6],
  KeyT: ["tilt_rad", 1.2], KeyG: ["tilt_rad", -1.2],
  KeyY: ["roll_rad", 1.6], KeyH: ["roll_rad", -1.6],
};
const SHOWN = {
  height_m: (value) => `${(100 * value).toFixed(0)} cm`,
  grasp: (value) => `${(100 * value).toFixed(0)} %`,
};
const inDegrees = (value) => `${((180 / Math.PI) * value).toFixed(0)}°`;
const WHEEL_M = 0.00035;
const PINCH_M = 0.35;
const MIN_INTERVAL_MS = 30;

export class HandControl {
  constructor(frame, target, sliders, send, onFirstMove) {
    Object.assign(this, { frame, target, send, onFirstMove });
    this.sliders = Object.fromEntries([...sliders.querySelectorAll("input")].map((input) => [input.name, input]));
    this.pointers = new Map();
    this.pressed = new Set();
    this.wish = null;
    this.limits = {};
    this.isNew = false;
    this.lastSent = 0;
    this.graspBefore = null;
    this.listen();
    this.then = performance.now();
    requestAnimationFrame((now) => this.tick(now));
  }

  setLimits(limits) {
    this.limits = limits;
    for (const [name, input] of Object.entries(this.sliders)) {
      const [low, high] = limits[name];
      Object.assign(input, { min: low, max: high, step: (high - low) / 200 });
    }
  }

  begin(wish) {
    this.wish = { ...wish };
    this.isNew = false;
    this.show();
  }

  change(changes) {
    if (!this.wish || document.body.dataset.mode !== "photo") return;
    for (const [name, value] of Object.entries(changes)) {
      const [low, high] = this.limits[name];
      this.wish[name] = Math.min(high, Math.max(low, value));
    }
    this.isNew = true;
    this.show();
    this.onFirstMove();
  }

  show() {
    this.target.hidden = false;
    this.target.style.left = `${100 * this.wish.u}%`;
    this.target.style.top = `${100 * this.wish.v}%`;
    for (const [name, input] of Object.entries(this.sliders)) {
      input.value = this.wish[name];
      input.nextElementSibling.textContent = (SHOWN[name] ?? inDegrees)(this.wish[name]);
    }
  }

  tick(now) {
    const seconds = Math.min(0.1, (now - this.then) / 1000);
    this.then = now;
    if (this.wish) {
      for (const code of this.pressed) {
        const [name, speed] = KEYS[code];
        this.change({ [name]: this.wish[name] + speed * seconds });
      }
      if (this.isNew && now - this.lastSent >= MIN_INTERVAL_MS) {
        this.isNew = false;
        this.lastSent = now;
        this.send({ type: "hand", ...this.wish, sent_ms: performance.now() });
      }
    }
    requestAnimationFrame((later) => this.tick(later));
  }

  listen() {
    const { frame } = this;
    frame.addEventListener("pointerdown", (event) => this.down(event));
    frame.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, (event) => this.up(event));
    frame.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    for (const [name, input] of Object.entries(this.sliders)) input.addEventListener("input", () => this.change({ [name]: Number(input.value) }));
    window.addEventListener("keydown", (event) => this.key(event, true));
    window.addEventListener("keyup", (event) => this.key(event, false));
    window.addEventListener("blur", () => this.pressed.clear());
  }

  place(event) {
    const box = this.frame.getBoundingClientRect();
    return { u: (event.clientX - box.left) / box.width, v: (event.clientY - box.top) / box.height };
  }

  down(event) {
    if (event.button !== 0) return;
    this.frame.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    this.frame.classList.add("held");
    if (this.pointers.size === 1) this.change(this.place(event));
    this.pair = this.pairOfPointers();
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return;
    this.pointers.set(event.pointerId, this.place(event));
    if (this.pointers.size === 1) return this.change(this.place(event));
    const pair = this.pairOfPointers();
    if (this.pair && pair) {
      let twist = pair.angle - this.pair.angle;
      twist -= 2 * Math.PI * Math.round(twist / (2 * Math.PI));
      this.change({ height_m: this.wish.height_m + PINCH_M * (pair.distance - this.pair.distance), turn_rad: this.wish.turn_rad - twist });
    }
    this.pair = pair;
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.pair = this.pairOfPointers();
    if (!this.pointers.size) this.frame.classList.remove("held");
  }

  pairOfPointers() {
    if (this.pointers.size !== 2) return null;
    const [a, b] = [...this.pointers.values()];
    return { distance: Math.hypot(a.u - b.u, a.v - b.v), angle: Math.atan2(b.v - a.v, b.u - a.u) };
  }

  wheel(event) {
    if (document.body.dataset.mode !== "photo" || !this.wish) return;
    event.preventDefault();
    this.change({ height_m: this.wish.height_m - WHEEL_M * event.deltaY * (event.deltaMode ? 16 : 1) });
  }

  key(event, isDown) {
    if (event.target.matches("input, textarea") || event.ctrlKey || event.metaKey || event.altKey || !this.wish) return;
    if (event.code in KEYS) {
      if (isDown) this.pressed.add(event.code);
      else this.pressed.delete(event.code);
    } else if (event.code === "Space" && !event.target.matches("button")) {
      if (isDown && this.graspBefore === null) {
        this.graspBefore = this.wish.grasp;
        this.change({ grasp: 0.85 });
      } else if (!isDown && this.graspBefore !== null) {
        this.change({ grasp: this.graspBefore });
        this.graspBefore = null;
      }
    } else return;
    event.preventDefault();
  }
}
