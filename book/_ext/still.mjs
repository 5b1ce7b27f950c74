// The explorers as HTML, for pages whose scripts have not run yet or never will: the same module on a document that only remembers.
// Usage: node still.mjs MODULE < [[tag, {attribute: value}], ...]; writes the content of each element, "" where it can't be had.
// An explorer that is drawn otherwise on a phone gives both pictures, of which mpq.css shows one.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const VOID = ["input", "img", "br", "hr", "source"];
const ATTRIBUTES = { className: "class", htmlFor: "for", tabIndex: "tabindex" };
for (const same of ["id", "type", "min", "max", "step", "value", "href", "src", "alt", "title", "width", "height", "hidden", "checked", "open", "poster"]) {
  ATTRIBUTES[same] = same;
}
const escape = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
const anything = () => new Proxy(function () {}, { get: (f, key) => (key === Symbol.toPrimitive ? () => 0 : anything()), apply: () => anything(), set: () => true });

class Element {
  constructor(tag = "div") {
    Object.assign(this, { tagName: tag, children: [], given: {}, dataset: {} });
    this.style = { setProperty(name, value) { this[name] = value; } };
    const names = () => (this.className ?? "").split(" ").filter(Boolean);
    this.classList = {
      add: (...more) => { this.className = [...new Set([...names(), ...more])].join(" "); },
      remove: (...fewer) => { this.className = names().filter((n) => !fewer.includes(n)).join(" "); },
      toggle: (n, on = !names().includes(n)) => this.classList[on ? "add" : "remove"](n), contains: (n) => names().includes(n) };
  }
  get childNodes() { return this.children; }
  get firstChild() { return this.children[0]; }
  get isConnected() { return true; }
  get clientWidth() { return width; }
  get textContent() { return this.children.map((c) => c.textContent ?? c).join(""); }
  set textContent(text) { this.children = text === "" || text == null ? [] : [String(text)]; }
  set innerHTML(text) { this.children = [{ raw: text }]; }
  setAttribute(name, value) { this.given[name] = String(value); }
  removeAttribute(name) { delete this.given[name]; }
  toggleAttribute(name, on) { if (on) this.given[name] = ""; else delete this.given[name]; }
  hasAttribute(name) { return name in this.given; }
  getAttribute(name) { return this.given[name] ?? null; }
  append(...nodes) {
    for (const node of nodes) {
      if (node instanceof Element) { node.remove(); node.parentNode = this; }
      this.children.push(node);
    }
  }
  appendChild(node) { this.append(node); return node; }
  prepend(...nodes) { const old = this.children; this.children = []; this.append(...nodes); this.children.push(...old); }
  insertBefore(node, before) { this.append(node); if (before) { this.children.pop(); this.children.splice(this.children.indexOf(before), 0, node); } return node; }
  before(...nodes) { for (const node of nodes) this.parentNode.insertBefore(node, this); }
  after(...nodes) { const all = this.parentNode.children, next = all[all.indexOf(this) + 1]; for (const node of nodes) this.parentNode.insertBefore(node, next); }
  replaceChildren(...nodes) { this.children = []; this.append(...nodes); }
  replaceWith(...nodes) { this.before(...nodes); this.remove(); }
  remove() { if (this.parentNode) this.parentNode.children = this.parentNode.children.filter((c) => c !== this); this.parentNode = undefined; }
  *all() { for (const c of this.children) if (c instanceof Element) { yield c; yield* c.all(); } }
  querySelectorAll(what) { return [...this.all()].filter((e) => e.tagName === what || (what[0] === "." && e.classList.contains(what.slice(1)))); }
  querySelector(what) { return this.querySelectorAll(what)[0] ?? null; }
  closest() { return null; }
  contains() { return false; }
  addEventListener() {}
  removeEventListener() {}
  dispatchEvent() {}
  focus() {}
  getBoundingClientRect() { return { left: 0, top: 0, right: 600, bottom: 300, width: 600, height: 300 }; }
  getContext() { return anything(); }
  get outerHTML() {
    const attributes = { ...this.given };
    for (const [property, name] of Object.entries(ATTRIBUTES)) {
      const value = Object.hasOwn(this, property) ? this[property] : undefined;
      if (value !== undefined && value !== false && this.tagName !== "select") attributes[name] = value === true ? "" : value;
    }
    const { milliseconds, draws, ...dataset } = this.dataset; // counts of a live explorer
    for (const [name, value] of Object.entries(dataset)) attributes[`data-${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`] = value;
    const styles = Object.entries(this.style).filter(([, v]) => typeof v === "string" && v !== "");
    if (styles.length) attributes.style = styles.map(([k, v]) => `${k.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}: ${v}`).join("; ");
    if (["input", "button", "select"].includes(this.tagName)) attributes.disabled = ""; // nothing answers yet
    if (this.tagName === "option" && this.parentNode?.value === this.value) attributes.selected = "";
    const text = Object.entries(attributes).map(([name, value]) => ` ${name}="${escape(value)}"`).join("");
    return VOID.includes(this.tagName) ? `<${this.tagName}${text}>` : `<${this.tagName}${text}>${this.innerHTML}</${this.tagName}>`;
  }
  get innerHTML() {
    return this.children.map((c) => c.outerHTML ?? c.raw ?? (this.tagName === "style" ? c : escape(c))).join("");
  }
}

const known = {};
let loading = 0, frames = 0, width;
const reduced = { matches: true, addEventListener() {}, removeEventListener() {} }; // nothing moves in a still
Object.assign(globalThis, {
  HTMLElement: Element, Element, Node: Element,
  document: Object.assign(new Element("document"), { createElement: (t) => new Element(t), createElementNS: (_, t) => new Element(t),
    createTextNode: String, documentElement: new Element("html"), body: new Element("body"), hidden: true }),
  customElements: { get: (name) => known[name], define: (name, kind) => { known[name] = kind; } },
  matchMedia: () => reduced, getComputedStyle: () => ({ getPropertyValue: () => "", color: "rgb(0, 0, 0)" }),
  requestAnimationFrame(frame) { frames++; return setTimeout(() => frame(performance.now()), 0); }, cancelAnimationFrame: clearTimeout,
  async fetch(url) {
    loading++;
    try {
      const bytes = await readFile(new URL(url));
      return { ok: true, status: 200, arrayBuffer: async () => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
        text: async () => bytes.toString(), json: async () => JSON.parse(bytes.toString()) };
    } catch { return { ok: false, status: 404 }; } finally { loading--; }
  },
});
for (const name of ["IntersectionObserver", "ResizeObserver", "MutationObserver"]) {
  globalThis[name] = class { observe() {} unobserve() {} disconnect() {} };
}

const wanted = JSON.parse(await new Response(process.stdin).text());
await import(pathToFileURL(process.argv[2]));
const made = [];
for (width of [700, 360]) {
  const elements = wanted.map(([tag, attributes]) => {
    try {
      const element = new known[tag](tag);
      Object.assign(element.given, attributes);
      element.connectedCallback();
      return element;
    } catch (error) {
      console.error(`${tag}: ${error.message}`);
      return null;
    }
  });
  const until = performance.now() + 20_000;
  for (let quiet = 0, seen = 0; quiet < 5 && performance.now() < until; seen = frames) { // until nothing is loaded or drawn any more
    await new Promise((done) => setTimeout(done, 20));
    quiet = loading || frames > seen ? 0 : quiet + 1;
  }
  made.push(elements.map((element) => element && { shape: element.querySelector("svg")?.getAttribute("viewBox"), html: element.innerHTML }));
}
const stills = made[0].map((wide, i) => {
  const narrow = made[1][i];
  if (!wide || !narrow) return "";
  return wide.shape === narrow.shape ? wide.html : `<div class="mpq-wide">${wide.html}</div><div class="mpq-narrow">${narrow.html}</div>`;
});
process.stdout.write(JSON.stringify(stills), () => process.exit(0));
