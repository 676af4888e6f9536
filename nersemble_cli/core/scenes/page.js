// Adds to trimesh's viewer what glTF does not carry: labels, legend, a scale bar, the background, the size of points,
// and an orbit that keeps the horizon level. `scene`, `camera`, `controls`, `renderer`, `tracklight` and `render`
// are the viewer's; `controls` exists once the scene is loaded.
(function () {
  "use strict";
  const page = JSON.parse(document.getElementById("page-data").textContent);

  function element(tag, id, parent) {
    const made = document.createElement(tag);
    if (id) made.id = id;
    (parent || document.body).appendChild(made);
    return made;
  }

  const spans = page.labels.map(function (label) {
    const span = element("span");
    span.className = "label";
    span.textContent = label.text;
    span.style.color = label.color;
    span.style.fontWeight = label.bold ? "bold" : "normal";
    return span;
  });
  const caption = element("div", "caption");
  caption.style.color = page.ink;
  caption.textContent = page.title;
  element("small", "", caption).textContent = "Drag to turn, scroll to zoom, drag with the right button to move.";
  const legend = element("div", "legend");
  page.legend.forEach(function (row) {
    const line = element("div", "", legend);
    line.textContent = row.text;
    line.style.color = row.color;
  });
  const scale = element("div", "scale");
  scale.style.color = page.ink;
  const length = element("span", "", scale), bar = element("div", "", scale);
  if (page.inset) {
    const inset = element("div", "inset"), close = element("button", "", inset);
    element("img", "", inset).src = page.inset;
    close.textContent = "×";
    close.title = "Close";
    close.setAttribute("aria-label", "Close the image");
    close.addEventListener("click", function () { inset.remove(); });
  }

  const focus = new THREE.Vector3(...page.focus), up = new THREE.Vector3(...page.up).normalize();
  const level = new THREE.Quaternion().setFromUnitVectors(up, new THREE.Vector3(0, 1, 0));
  const raise = level.clone().invert();
  const place = new THREE.Spherical();
  const points = [];

  function roundLength(extent) {  // the largest of 1, 2, 5 × a power of ten that is not longer
    const power = Math.pow(10, Math.floor(Math.log10(extent)));
    return power * [5, 2, 1].find(function (step) { return step * power <= extent * (1 + 1e-9); });
  }

  function draw() {
    place.makeSafe();
    camera.position.setFromSpherical(place).applyQuaternion(raise).add(focus);
    camera.up.copy(up);
    camera.lookAt(focus);
    controls.target.copy(focus);
    camera.updateMatrixWorld();
    render();
    page.labels.forEach(function (label, i) {
      const at = new THREE.Vector3(...label.position).project(camera);
      const seen = at.z < 1 && Math.abs(at.x) < 1 && Math.abs(at.y) < 1;
      const half = spans[i].offsetWidth / 2 + 3;  // the text stays inside the window as long as its place does
      const x = Math.min(Math.max((at.x + 1) / 2 * window.innerWidth, half), window.innerWidth - half);
      const y = (1 - at.y) / 2 * window.innerHeight;
      spans[i].style.visibility = seen ? "" : "hidden";
      spans[i].style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
    });
    const pixel = 2 * place.radius * Math.tan(camera.fov * Math.PI / 360) / window.innerHeight;
    const rounded = roundLength(Math.min(200, window.innerWidth / 4) * pixel);
    length.textContent = `${Number(rounded.toPrecision(3))} ${page.unit}`;
    bar.style.width = `${rounded / pixel}px`;
  }

  function fit() {  // a narrow window sees as much from side to side as the picture does
    const half = Math.tan(page.angle * Math.PI / 360) * Math.max(1, page.aspect / camera.aspect);
    camera.fov = Math.atan(half) * 360 / Math.PI;
    camera.updateProjectionMatrix();
    points.forEach(function (thing) { thing.material.size = page.pointSize / half; });
    draw();
  }

  function pan(x, y) {
    const pixel = 2 * place.radius * Math.tan(camera.fov * Math.PI / 360) / window.innerHeight;
    const right = new THREE.Vector3(), above = new THREE.Vector3();
    camera.matrix.extractBasis(right, above, new THREE.Vector3());
    focus.addScaledVector(right, -x * pixel).addScaledVector(above, y * pixel);
  }

  function zoom(factor) {
    place.radius = Math.min(Math.max(place.radius * factor, page.nearest), page.farthest);
  }

  function listen(canvas) {
    const pointers = new Map();
    let spread = 0;

    function middle() {
      const all = [...pointers.values()];
      return { x: all.reduce((sum, p) => sum + p.x, 0) / all.length, y: all.reduce((sum, p) => sum + p.y, 0) / all.length,
               spread: all.length < 2 ? 0 : Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) };
    }
    canvas.addEventListener("pointerdown", function (event) {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      spread = middle().spread;
    });
    canvas.addEventListener("pointermove", function (event) {
      if (!pointers.has(event.pointerId)) return;
      const before = middle();
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const after = middle(), x = after.x - before.x, y = after.y - before.y;
      if (pointers.size > 1) {  // two fingers move and pinch
        if (spread > 0 && after.spread > 0) zoom(spread / after.spread);
        spread = after.spread;
        pan(x, y);
      } else if (event.buttons & 6 || event.shiftKey || event.ctrlKey) {
        pan(x, y);
      } else {
        place.theta -= 2 * Math.PI * x / window.innerHeight;
        place.phi = Math.min(Math.max(place.phi - 2 * Math.PI * y / window.innerHeight, 0.02), Math.PI - 0.02);
      }
      draw();
    });
    function release(event) {
      pointers.delete(event.pointerId);
      spread = pointers.size ? middle().spread : 0;
    }
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("contextmenu", function (event) { event.preventDefault(); });
    canvas.addEventListener("wheel", function (event) {
      event.preventDefault();
      zoom(Math.exp(event.deltaY * (event.deltaMode ? 0.04 : 0.0012)));
      draw();
    }, { passive: false });
  }

  function flat(material) {
    const map = material.map;
    if (map) {  // colours go through as they are
      map.encoding = THREE.LinearEncoding;
      map.anisotropy = 8;
      map.needsUpdate = true;
    }
    return new THREE.MeshBasicMaterial({ map: map, color: material.color, side: material.side });
  }

  function round(material) {  // discs instead of squares, as large as the points are in the world
    material.sizeAttenuation = true;
    material.onBeforeCompile = function (shader) {
      const start = "#include <clipping_planes_fragment>";
      shader.fragmentShader = shader.fragmentShader.replace(
        start, `if (length(gl_PointCoord - 0.5) > 0.5) discard;\n${start}`);
    };
    material.needsUpdate = true;
  }

  function begin() {
    if (typeof controls === "undefined") { window.setTimeout(begin, 20); return; }
    controls.dispose();
    scene.background = new THREE.Color(page.background);
    scene.add(new THREE.AmbientLight(0xffffff, 0.35));
    tracklight.intensity = 0.65;
    scene.traverse(function (thing) {
      if (thing.isPoints) { round(thing.material); points.push(thing); }
      else if (thing.isMesh && thing.material.name.startsWith("flat")) thing.material = flat(thing.material);
    });
    place.setFromVector3(new THREE.Vector3(...page.position).sub(focus).applyQuaternion(level));
    listen(renderer.domElement);
    window.addEventListener("resize", fit);
    fit();
    document.body.dataset.ready = "yes";
  }
  begin();
})();
