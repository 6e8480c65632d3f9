// What a text tag said, newest first: a line through numbers of strings would mean nothing.
import { useEffect, useState } from "preact/hooks";
import { failed, get, listen, type Series, type Tag, trusted } from "./api";
import { moment } from "./show";
import { t } from "./words";

const MOST = 50; // rows
type Said = [number, string | null]; // ms on the plane's clock; null: not to be trusted

/** Only what differs from the one before. */
const apart = (rows: Said[]) => rows.filter(([, text], i) => i === 0 || text !== rows[i - 1][1]);

export function Changes({ device, tag, minutes }: { device: string; tag: Tag; minutes: number }) {
  const [rows, setRows] = useState<Said[] | null>(null);
  const known = Object.keys(tag.labels).join();
  useEffect(() => {
    let gone = false;
    const load = () => {
      const path = `/api/devices/${encodeURIComponent(device)}/series?tag=${encodeURIComponent(tag.name)}&from=${-minutes * 60e9}`;
      get<Series<string>>(path).then((s) => { if (!gone) setRows(apart(s.t.map((ms, i): Said => [ms, s.v[i]]))); }, failed);
    };
    load();
    const stop = listen((m) => {
      if (m.kind === "open") load();
      const news = m.kind === "values" && m.device === device ? m.values?.[tag.id] : undefined;
      if (!news) return;
      const [value, quality, ns] = news, text = value === null ? null : tag.labels[value];
      if (text === undefined) return; // the string is still on its way; it comes with new labels, and then all is loaded anew
      setRows((old) => old && (ns / 1e6 > (old[old.length - 1]?.[0] ?? 0) ? apart([...old, [ns / 1e6, trusted(quality) ? text : null]]) : old));
    });
    return () => { gone = true; stop(); };
  }, [device, tag.id, minutes, known]);
  const newest = rows?.slice(-MOST).reverse() ?? [];
  return (
    <div class="changes">
      {newest.length || !rows ? null : <p class="quiet">{t("noHistory")}</p>}
      <table><tbody>
        {newest.map(([ms, text]) => <tr key={ms}><td class="quiet">{moment(ms)}</td><td>{text === null ? "–" : text || t("emptyText")}</td></tr>)}
      </tbody></table>
    </div>
  );
}
