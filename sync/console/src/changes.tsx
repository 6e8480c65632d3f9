// What a text tag said, newest first: a line through numbers of strings would mean nothing.
import { useEffect, useState } from "preact/hooks";
import { failed, get, listen, type Series, type Tag, trusted } from "./api";
import { moment } from "./show";
import { t } from "./words";

const MOST = 50; // rows shown
const MOST_KEPT = 1000;
type Said = [number, string | number | null]; // ms on the plane's clock; null: not to be trusted; a number: of a string, from the live lane
const ON_ITS_WAY = "…"; // the number came before its string

/** Only what differs from the one before. */
const apart = (rows: Said[]) => rows.filter(([, text], i) => i === 0 || text !== rows[i - 1][1]);

export function Changes({ device, tag, minutes }: { device: string; tag: Tag; minutes: number }) {
  const [rows, setRows] = useState<Said[] | null>(null);
  useEffect(() => {
    let gone = false, asked = 0, epoch: string | undefined, meanwhile: Said[] = []; // an answer does not know what came after the plane gave it
    const load = () => {
      const path = `/api/devices/${encodeURIComponent(device)}/series?tag=${encodeURIComponent(tag.name)}&from=${-minutes * 60e9}`;
      asked++;
      get<Series<string>>(path).then((s) => {
        if (gone) return;
        const last = s.t[s.t.length - 1] ?? 0;
        setRows(apart([...s.t.map((ms, i): Said => [ms, s.v[i]]), ...meanwhile.filter(([ms]) => ms > last)]));
      }).catch(failed).finally(() => { if (!--asked) meanwhile = []; });
    };
    setRows(null);
    load();
    const stop = listen((m) => {
      if (m.kind === "open") load();
      const news = m.kind === "values" && m.device === device ? m.values?.[tag.id] : undefined;
      if (!news) return;
      if (epoch !== undefined && epoch !== m.epoch) { // another journal, with other numbers
        setRows(null);
        meanwhile = [];
        load();
      }
      epoch = m.epoch;
      const said: Said = [news[2] / 1e6, trusted(news[1]) ? news[0] : null];
      if (asked) meanwhile.push(said);
      setRows((old) => old && (said[0] > (old[old.length - 1]?.[0] ?? 0) ? apart([...old, said]).slice(-MOST_KEPT) : old));
    });
    return () => { gone = true; stop(); };
  }, [device, tag.id, minutes]);
  const texts = apart((rows ?? []).map(([ms, text]): Said => [ms, typeof text === "number" ? tag.labels[text] ?? ON_ITS_WAY : text]));
  const newest = texts.slice(-MOST).reverse();
  return (
    <div class="changes">
      {newest.length || !rows ? null : <p class="quiet">{t("noHistory")}</p>}
      <table><tbody>
        {newest.map(([ms, text]) => <tr key={ms}><td class="quiet">{moment(ms)}</td><td>{text === null ? "–" : text || t("emptyText")}</td></tr>)}
      </tbody></table>
    </div>
  );
}
