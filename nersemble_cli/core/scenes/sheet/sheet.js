"use strict";
(() => {
  const tracks = JSON.parse(document.getElementById("tracks").textContent);
  const cards = [...document.querySelectorAll(".card")];
  const dialog = document.querySelector("dialog");
  const slider = document.querySelector(".controls input[type=range]");
  const SVG = "http://www.w3.org/2000/svg";

  // A frame shows a picture with its outlines, or says why there is none.
  function show(frame, picture, why) {
    frame.classList.toggle("empty", !picture);
    if (!picture) {
      frame.querySelector(".why").textContent = why;
      return;
    }
    frame.querySelector("img").src = "data:image/webp;base64," + picture.d;
    const svg = frame.querySelector("svg");
    svg.setAttribute("viewBox", `0 0 ${picture.s[0]} ${picture.s[1]}`);
    svg.replaceChildren(...picture.o.map(([kind, line]) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", kind);
      path.setAttribute("d", line);
      return path;
    }));
  }

  // All videos play in step: the slider's position is a share of each sequence.
  const visible = new Set(cards.filter((card) => card.querySelector("[data-track]")));
  function play(card) {
    const times = JSON.parse(card.dataset.times);
    const share = slider.max > 0 ? slider.value / slider.max : 0;
    const t = times[Math.round(share * (times.length - 1))];
    for (const frame of card.querySelectorAll("[data-track]")) {
      const track = tracks[frame.dataset.track];
      show(frame, track.p[track.moves ? t : 0], frame.dataset.why || `no frame ${t}`);
    }
    card.querySelector(".now").textContent = `frame ${t} / ${card.dataset.last}`;
  }
  function draw() {
    document.querySelector(".controls output").textContent = `${Math.round(100 * slider.value / (slider.max || 1))} %`;
    for (const card of visible) if (!card.classList.contains("hidden")) play(card);
  }
  let timer = 0;
  function toggle() {
    const button = document.querySelector(".controls button");
    if (timer) { clearInterval(timer); timer = 0; } else {
      timer = setInterval(() => {
        slider.value = (Number(slider.value) + 1) % (Number(slider.max) + 1);
        draw();
      }, 1000 / 12);
    }
    button.textContent = timer ? "❚❚" : "▶";
    button.setAttribute("aria-label", timer ? "Pause" : "Play");
  }
  if (slider) {
    const seen = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        if (isIntersecting) { visible.add(target); if (!target.classList.contains("hidden")) play(target); }
        else visible.delete(target);
      }
    }, { rootMargin: "200px" });
    cards.filter((card) => card.querySelector("[data-track]")).forEach((card) => seen.observe(card));
    slider.addEventListener("input", draw);
    document.querySelector(".controls button").addEventListener("click", toggle);
    draw();
  }

  for (const box of document.querySelectorAll(".controls input[type=checkbox]")) {
    box.addEventListener("change", () => document.body.classList.toggle(`no-${box.name}`, !box.checked));
  }
  const filter = document.querySelector(".controls select");
  filter?.addEventListener("change", () => {
    for (const card of cards) card.classList.toggle("hidden", filter.value !== "all" && !card.classList.contains(filter.value));
    if (slider) draw();
  });

  // The thumbnails above show what the cards show.
  for (const link of document.querySelectorAll(".overview a:not(.blank)")) {
    const card = document.getElementById(link.hash.slice(1));
    const middle = card.querySelector(".thumbnail .frame:not(.empty) img, .frame:not(.empty, [data-track]) img");
    if (!middle) { link.classList.add("blank"); continue; }
    const image = new Image();
    image.alt = "";
    image.loading = "lazy";
    image.src = middle.src;
    link.append(image);
    link.addEventListener("click", () => {
      if (card.classList.contains("hidden") && filter) { filter.value = "all"; filter.dispatchEvent(new Event("change")); }
    });
  }

  function enlarge(frame) {
    if (frame.classList.contains("empty") || frame.hasAttribute("data-track")) return;
    const large = dialog.querySelector(".frame");
    large.replaceChildren(...[...frame.children].map((child) => child.cloneNode(true)));
    const { naturalWidth: width, naturalHeight: height } = frame.querySelector("img");
    dialog.style.setProperty("--ratio", `${width} / ${height}`);
    dialog.querySelector("p").textContent = frame.getAttribute("aria-label");
    dialog.showModal();
  }
  document.addEventListener("click", (event) => {
    const frame = event.target.closest(".frame");
    if (dialog.open) dialog.close(); else if (frame) enlarge(frame);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches(".frame")) enlarge(event.target);
    if (!slider || dialog.open || event.target.matches("input, select, button, summary, a")) return;
    if (event.key === " ") { event.preventDefault(); toggle(); }
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { slider.value = Number(slider.value) + step; draw(); }
  });
  document.body.dataset.ready = "yes";
})();
