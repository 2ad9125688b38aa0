// The threshold explorer: which images exit where at any thresholds, from the outputs of every exit for
// every image. Scores are the float32 that the router compared, and a threshold is rounded to float32
// before it is compared, so that each number here equals that of SQL: at_thresholds(),
// composed_latency() and composed_energy(). The model, the mode and the thresholds stand in the page's
// address. What exits where is told to the page as an event `routed`.
"use strict";

(() => {
  const root = document.getElementById("explorer");
  const listed = pageData.data.passes;
  if (!root || listed.length === 0) {
    window.explorerReady = Promise.resolve();
    return;
  }
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const percentiles = [50, 90, 99];

  const { bytes } = pageData;

  // Unpacks one all-exit pass. `order` has the indices of all latency samples, shortest first.
  function unpack(pass) {
    const exits = pass.exit_blocks.length;
    const ms = new Float64Array(bytes(pass.sample_ms).buffer);
    const means = Array.from({ length: exits }, (_, exit) => {
      let sum = 0;
      for (let row = 0; row < pass.samples; row++) sum += ms[row * exits + exit];
      return sum / pass.samples;
    });
    const order = Uint32Array.from(ms.keys()).sort((a, b) => ms[a] - ms[b]);
    const answered = bytes(pass.right);
    const stride = Math.ceil(pass.images / 8);
    return {
      ...pass,
      exits,
      ms,
      means,
      order,
      scores: new Float32Array(bytes(pass.scores).buffer),
      isRight: (exit, image) => (answered[exit * stride + (image >> 3)] >> (image & 7)) & 1,
    };
  }

  // Where each image exits at one threshold per gate, how many do so at each exit, and how many
  // predictions are right. A score of NaN never exits.
  function route(pass, thresholds) {
    const limits = Float32Array.from(thresholds);
    const counts = new Array(pass.exits).fill(0);
    const taken = new Uint8Array(pass.images);
    let right = 0;
    for (let image = 0; image < pass.images; image++) {
      let exit = 0;
      while (exit < limits.length && !(pass.scores[exit * pass.images + image] >= limits[exit])) exit++;
      counts[exit]++;
      taken[image] = exit;
      right += pass.isRight(exit, image);
    }
    return { counts, right, taken };
  }

  // The latency of a mixture of exits: its mean and percentiles.
  function latency(pass, shares) {
    if (!pass.samples) return null;
    const found = { mean: shares.reduce((sum, share, exit) => sum + (share && share * pass.means[exit]), 0) };
    let within = 0;
    let next = 0;
    for (const place of pass.order) {
      const share = shares[place % pass.exits];
      if (!share) continue;
      within += share / pass.samples;
      while (next < percentiles.length && within + 1e-9 >= percentiles[next] / 100) {
        found[percentiles[next++]] = pass.ms[place];
      }
      if (next === percentiles.length) break;
    }
    return found;
  }

  function energy(pass, shares) {
    if (!pass.exit_mj) return null;
    const mean = shares.reduce((sum, share, exit) => sum + share * pass.exit_mj[exit], 0);
    const margins = pass.exit_margin_mj;
    if (!margins || margins.some((margin) => margin === null)) return { mean, margin: null };
    return { mean, margin: Math.hypot(...shares.map((share, exit) => share * margins[exit])) };
  }

  function evaluate(pass, thresholds) {
    const { counts, right, taken } = route(pass, thresholds);
    const shares = counts.map((count) => count / pass.images);
    return {
      counts,
      taken,
      shares,
      acc1: (100 * right) / pass.images,
      blocks: shares.reduce((sum, share, exit) => sum + share * (pass.exit_blocks[exit] + 1), 0),
      latency: latency(pass, shares),
      energy: energy(pass, shares),
    };
  }

  // The page -----------------------------------------------------------------------------------

  const passes = new Map();
  let pass = null;
  let controls = [];
  let view = null;
  let chosen = null; // the model that is shown, or being loaded
  const select = part("pass");

  const { make } = pageData;

  const isShared = () => root.querySelector("input[name=mode]:checked").value === "shared";

  // A slider and a field for exact numbers; one step beyond the slider's end, no image exits early.
  function control(name, id, value) {
    const { low, high, step } = pass.slider;
    const digits = Math.max(0, Math.ceil(-Math.log10(step)));
    const slider = make("input", { type: "range", id, min: low, max: high + step, step, value });
    const field = make("input", { type: "text", inputMode: "decimal", id: `${id}-exact`, value });
    field.setAttribute("aria-label", `${name}, exactly`);
    const made = { value, element: make("div", { className: "control" }) };
    const set = (number, isTyped) => {
      made.value = number;
      const isBeyond = number === Infinity;
      if (!isTyped) field.value = isBeyond ? "none" : String(Number(number.toFixed(digits + 2)));
      else slider.value = isBeyond ? high + step : number;
      slider.setAttribute("aria-valuetext", isBeyond ? "no image exits early" : String(number));
      field.removeAttribute("aria-invalid");
      remember();
      show();
    };
    slider.addEventListener("input", () => {
      const number = Number(slider.value);
      set(number > high + step / 2 ? Infinity : Number(number.toFixed(digits + 2)), false);
    });
    field.addEventListener("change", () => {
      const number = read(field.value.trim());
      if (Number.isNaN(number)) field.setAttribute("aria-invalid", "true");
      else set(number, true);
    });
    // Sets the exact number, as if it had been typed.
    made.take = (number) => {
      field.value = written(number);
      set(number, true);
    };
    made.element.append(make("label", { htmlFor: id, textContent: name }), slider, field);
    return made;
  }

  // A threshold as text, and back: NaN if it is none.
  const written = (number) => (number === Infinity ? "none" : String(number));
  const read = (text) => (text === "none" ? Infinity : text.trim() === "" ? NaN : Number(text.trim().replace(",", ".")));

  // The address says what is chosen, once something is.
  function remember() {
    permalink.set("model", pass.cell_id === listed[0].cell_id ? null : pass.cell_id);
    permalink.set("mode", isShared() ? null : "each");
    permalink.set("t", controls.map((made) => written(made.value)).join(";"));
  }

  // Takes the thresholds that the address names, if it names some that fit the model.
  function recall() {
    const texts = permalink.get("t")?.split(";") ?? [];
    const values = texts.map(read);
    if (values.some(Number.isNaN) || ![1, pass.exits - 1].includes(values.length)) return false;
    const isEach = permalink.get("mode") === "each" && values.length === pass.exits - 1;
    root.querySelector(`input[value=${isEach ? "each" : "shared"}]`).checked = true;
    controls = [];
    makeControls();
    controls.forEach((made, gate) => made.take(values[gate] ?? values[0]));
    return true;
  }

  function makeControls() {
    const gates = pass.exit_blocks.slice(0, -1);
    const before = controls.length ? thresholdsOf(controls) : pass.thresholds;
    const known = before.map((value, gate) => (Number.isFinite(value) ? value : pass.thresholds[gate]));
    controls = isShared()
      ? [control("threshold of all gates", "threshold", known[0])]
      : gates.map((block, gate) => control(`threshold after block ${block}`, `threshold-${gate}`, known[gate]));
    part("controls").replaceChildren(...controls.map((made) => made.element));
  }

  // The thresholds, one per gate, whether there is a control for each gate or one for all.
  function thresholdsOf(made) {
    return Array.from({ length: pass.exits - 1 }, (_, gate) => made[made.length > 1 ? gate : 0].value);
  }

  // Sets the threshold of the curve's point nearest to the click, for all gates, as on the curve.
  function take(event) {
    const svg = part("chart").querySelector("svg");
    const box = svg.getBoundingClientRect();
    const scale = svg.width.baseVal.value / box.width; // the chart is scaled down on a narrow page
    const [left, top] = view.origin();
    const { left: padLeft, top: padTop } = view.padding();
    const x = (event.clientX - box.left) * scale - left - padLeft;
    const y = (event.clientY - box.top) * scale - top - padTop;
    const away = (point) => Math.hypot(view.scale("x")(point.cost) - x, view.scale("y")(point.acc1) - y);
    const nearest = pass.chart.usermeta.points.reduce((best, each) => (away(each) < away(best) ? each : best));
    if (!isShared()) {
      root.querySelector("input[value=shared]").checked = true;
      makeControls();
    }
    controls[0].take(nearest.threshold === "inf" ? Infinity : Number(nearest.threshold));
  }

  const say = (name, text) => (part(name).textContent = text);
  const { fixed } = pageData;

  function show() {
    const now = evaluate(pass, thresholdsOf(controls));
    const change = now.acc1 - pass.fullAcc1;
    say("acc1", `${fixed(now.acc1, 2)} %`);
    say("acc1-change", `${pageData.signed(change, 2)} points vs full depth`);
    say("blocks", fixed(now.blocks, 2));
    say("blocks-change", `of ${pass.exit_blocks[pass.exits - 1] + 1}`);
    say("latency", now.latency ? `${fixed(now.latency.mean, 3)} ms ${pass.ms_error}`.trim() : "–");
    part("latency").classList.toggle("doubtful", pass.is_ms_promised === false);
    say(
      "percentiles",
      now.latency
        ? percentiles
            .map((p) => `p${p} ${pass.samples >= pass.samples_for[p] ? fixed(now.latency[p], 3) : "–"}`)
            .join(" · ")
        : "",
    );
    say("energy", now.energy ? `${fixed(now.energy.mean, 3)} mJ` : "–");
    say(
      "energy-margin",
      !now.energy ? "" : now.energy.margin === null ? "interval not known" : `± ${fixed(now.energy.margin, 3)} (95 %)`,
    );
    now.counts.forEach((count, exit) => {
      const row = part("exits").children[exit];
      row.children[2].textContent = String(count);
      row.children[3].textContent = fixed(100 * now.shares[exit], 1);
      row.children[4].firstChild.style.width = `${100 * now.shares[exit]}%`;
    });
    moveDot(now);
    const thresholds = controls.map((made) => written(made.value));
    document.dispatchEvent(new CustomEvent("routed", { detail: { pass, taken: now.taken, thresholds } }));
  }

  function moveDot(now) {
    if (!view) return;
    const cost = pass.chart.usermeta.cost === "forward_ms" ? now.latency && now.latency.mean : now.blocks;
    const points = cost === null ? [] : [{ cost, acc1: now.acc1 }];
    view.data("now", points).run();
  }

  async function choose(id) {
    const found = listed.find((each) => each.cell_id === id) ?? listed[0];
    chosen = found.cell_id;
    if (!passes.has(chosen)) {
      const unpacked = unpack(await pageData.load(found.key));
      const none = new Array(unpacked.exits - 1).fill(Infinity);
      passes.set(unpacked.cell_id, { ...unpacked, fullAcc1: (100 * route(unpacked, none).right) / unpacked.images });
    }
    if (chosen !== found.cell_id) return; // another was chosen while it was loaded
    select.value = chosen;
    part("live").hidden = false;
    pass = passes.get(chosen);
    controls = [];
    const isOne = pass.thresholds.every((value) => value === pass.thresholds[0]);
    root.querySelector(`input[value=${isOne ? "shared" : "each"}]`).checked = true;
    part("exits").replaceChildren(
      ...pass.exit_blocks.map((block, exit) =>
        make(
          "tr",
          {},
          make("th", { scope: "row", textContent: exit + 1 < pass.exits ? `${block}` : `${block}, full depth` }),
          make("td", { textContent: String(block + 1) }),
          make("td"),
          make("td"),
          make("td", { className: "bar" }, make("span")),
        ),
      ),
    );
    const notes = [
      pass.acc1_note,
      pass.ms_note && `milliseconds: ${pass.ms_note}`,
      pass.mj_note && `energy: ${pass.mj_note}`,
      pass.mj_source,
    ];
    part("notes").replaceChildren(
      ...notes.filter(Boolean).map((text) => make("li", { textContent: text })),
    );
    view = null;
    if (!recall()) {
      makeControls();
      show();
    }
    const embedded = await drawChart(part("chart"), pass.chart);
    if (pass.cell_id !== found.cell_id) return;
    view = embedded.view;
    view.addEventListener("click", take);
    show();
  }

  for (const radio of root.querySelectorAll("input[name=mode]")) {
    radio.addEventListener("change", () => {
      makeControls();
      remember();
      show();
    });
  }
  select.addEventListener("change", async () => {
    permalink.set("t", null); // those of another model
    permalink.set("mode", null);
    permalink.set("model", select.value);
    await choose(select.value);
  });
  permalink.onChange(() => choose(permalink.get("model")));
  window.explorerReady = choose(permalink.get("model"));
})();
