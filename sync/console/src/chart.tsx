// History of one tag, with the live points at its end.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { get, listen, type Series, type Tag } from "./api";
import { t } from "./words";

export function Chart({ device, tag, minutes, failed }: { device: string; tag: Tag; minutes: number; failed: (e: unknown) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const empty = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    let plot: uPlot | null = null, gone = false;
    const xs: number[] = [], ys: (number | null)[] = [];
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--quiet"), line = style.getPropertyValue("--accent"), grid = style.getPropertyValue("--line");
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, font: "12px system-ui" };
    const span = () => ({ min: Date.now() / 1000 - minutes * 60, max: Date.now() / 1000 });
    const draw = () => {
      if (empty.current) empty.current.hidden = xs.length > 0;
      plot?.setData([xs, ys]);
    };
    const size = () => ({ width: box.current?.clientWidth ?? 600, height: 260 });
    const options: uPlot.Options = {
      ...size(),
      scales: { x: { time: true, range: () => { const s = span(); return [s.min, s.max]; } } },
      axes: [axis, { ...axis, size: 62 }],
      series: [{}, { label: tag.name, stroke: line, width: 1.5, spanGaps: false, points: { show: false }, paths: tag.type === "bool" ? uPlot.paths.stepped!({ align: 1 }) : undefined }],
      legend: { show: false },
      cursor: { y: false },
    };
    const from = (Date.now() - minutes * 60_000) * 1_000_000;
    get<Series>(`/api/devices/${encodeURIComponent(device)}/series?tag=${encodeURIComponent(tag.name)}&from=${from}`).then((s) => {
      if (gone || !box.current) return;
      const live = xs.map((x, i) => [x, ys[i]] as const).filter(([x]) => x > (s.t[s.t.length - 1] ?? 0) / 1000);
      xs.length = ys.length = 0;
      for (let i = 0; i < s.t.length; i++) { xs.push(s.t[i] / 1000); ys.push(s.v[i]); }
      for (const [x, y] of live) { xs.push(x); ys.push(y); }
      plot = new uPlot(options, [xs, ys], box.current);
      draw();
    }, failed);
    const stop = listen((m) => {
      const fresh = m.kind === "values" && m.device === device ? m.values?.[tag.id] : undefined;
      if (fresh && fresh[2] / 1e9 > (xs[xs.length - 1] ?? 0)) { xs.push(fresh[2] / 1e9); ys.push(fresh[0]); }
      if (m.kind === "values" && m.device === device) draw();
    });
    const resized = new ResizeObserver(() => plot?.setSize(size()));
    if (box.current) resized.observe(box.current);
    return () => { gone = true; stop(); resized.disconnect(); plot?.destroy(); };
  }, [device, tag.id, minutes, document.documentElement.dataset.theme]);
  return <div class="chart" role="img" aria-label={tag.name} ref={box}><p class="quiet" ref={empty} hidden>{t("noHistory")}</p></div>;
}
