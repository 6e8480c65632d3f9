// History of one tag, with the live points at its end. What is not to be trusted is a gap.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { failed, get, listen, type Series, type Tag, trusted } from "./api";
import { clock, number, reading } from "./show";
import { t } from "./words";

const MOST = 6000; // points; beyond it the history is fetched anew, thinned by the plane
const LEAST_SPAN = 10; // seconds

export function Chart({ device, tag, minutes }: { device: string; tag: Tag; minutes: number }) {
  const box = useRef<HTMLDivElement>(null);
  const empty = useRef<HTMLParagraphElement>(null);
  const newest = useRef(tag);
  newest.current = tag;
  useEffect(() => {
    let plot: uPlot | null = null, gone = false, loading = false, ahead = Date.now() - performance.now();
    let xs: number[] = [], ys: (number | null)[] = [];
    /** From the oldest point shown, at most the chosen span, to now on the plane's clock. */
    const range = (): [number, number] => {
      const to = Math.max((performance.now() + ahead) / 1000, xs[xs.length - 1] ?? 0);
      return [Math.min(Math.max(to - minutes * 60, xs[0] ?? 0), to - LEAST_SPAN), to];
    };
    const draw = () => {
      const [from, to] = range();
      const inside = xs.findIndex((x) => x >= from);
      const old = (inside < 0 ? xs.length : inside) - 1; // the last one outside, where the line comes from
      if (old > 0 || xs.length > 2 * MOST) for (const column of [xs, ys]) column.splice(0, Math.max(old, xs.length - 2 * MOST));
      if (empty.current) empty.current.hidden = xs.some((_, i) => ys[i] !== null);
      if (box.current) Object.assign(box.current.dataset, { points: xs.length, gaps: ys.filter((y) => y === null).length, seconds: Math.round(to - from) });
      const holds = trusted(newest.current.quality) && xs.length > 0; // deadband: no news is the same value
      plot?.setData(holds ? [[...xs, to], [...ys, ys[ys.length - 1]]] : [xs, ys]);
    };
    const load = () => {
      loading = true;
      const path = `/api/devices/${encodeURIComponent(device)}/series?tag=${encodeURIComponent(tag.name)}&from=${-minutes * 60e9}`;
      get<Series>(path).then((s) => {
        if (gone || !box.current) return;
        ahead = s.to - performance.now();
        const end = s.t[s.t.length - 1] ?? 0, live = xs.flatMap((x, i) => (x * 1000 > end ? [i] : []));
        [xs, ys] = [[...s.t.map((x) => x / 1000), ...live.map((i) => xs[i])], [...s.v, ...live.map((i) => ys[i])]];
        plot ??= new uPlot(options(tag, size(), range), [xs, ys], box.current);
        draw();
      }).catch(failed).finally(() => { loading = false; });
    };
    const size = () => ({ width: box.current?.clientWidth ?? 600, height: 260 });
    load();
    const stop = listen((m) => {
      if (m.kind === "open") load();
      if (m.kind !== "values" || m.device !== device) return;
      const [value, quality, ns] = m.values?.[tag.id] ?? [null, "", 0];
      if (ns / 1e9 > (xs[xs.length - 1] ?? 0)) { xs.push(ns / 1e9); ys.push(trusted(quality) ? value : null); }
      if (xs.length > MOST && !loading) load();
      draw();
    });
    const resized = new ResizeObserver(() => plot?.setSize(size()));
    if (box.current) resized.observe(box.current);
    return () => { gone = true; stop(); resized.disconnect(); plot?.destroy(); };
  }, [device, tag.id, minutes, document.documentElement.dataset.theme]);
  return (
    <div class="chart" role="img" aria-label={`${tag.name} ${reading(tag)} ${tag.unit}`} ref={box}>
      <p class="quiet" ref={empty} hidden>{t("noHistory")}</p>
    </div>
  );
}

function options(tag: Tag, size: { width: number; height: number }, range: () => [number, number]): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const [ink, line, grid] = ["--quiet", "--accent", "--line"].map((name) => style.getPropertyValue(name));
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, font: "12px system-ui" };
  const times = (_: uPlot, at: number[], __: number, ___: number, step: number) => at.map((x) => clock(x * 1000).slice(0, step < 60 ? 8 : 5));
  const numbers = (_: uPlot, at: number[]) => at.map((y) => number(y, tag.labels));
  return {
    ...size,
    scales: { x: { time: true, range } },
    axes: [{ ...axis, values: times, space: 70, size: 32 }, { ...axis, values: numbers, size: 62 }],
    series: [{}, {
      label: tag.name, stroke: line, width: 1.5, spanGaps: false, points: { show: false },
      paths: tag.type === "bool" ? uPlot.paths.stepped!({ align: 1 }) : undefined,
    }],
    legend: { show: false },
    cursor: { y: false },
  };
}
