// What people's reviews prove, and what the hours look like: the ledger in small.
import { type Bound, get, type Proven } from "./api";
import { clock, number, useFresh } from "./show";
import { label as word, t, type Word } from "./words";

const WIDE = 240, HIGH = 60;
const FEWEST = 20; // parts of an hour that say anything of its share
const share = (n: number, digits: number) => `${(100 * n).toFixed(digits)} %`;

export function Proof({ device, done }: { device: string; done: number }) {
  const [p] = useFresh<Proven>(() => get(`/api/proof?${new URLSearchParams({ device })}`), (m) => m.kind === "events" && (!device || m.device === device), [device, done], 5000);
  if (!p) return null;
  const most = Math.max(1, ...p.pareto.map(([, n]) => n));
  return (
    <section class="panel proof" aria-label={t("proof")}>
      <header class="bar"><h2>{t("proof")}</h2><small class="quiet">{t("byChance")}</small></header>
      <div class="rates"><Rate word="escapes" of="calledOk" bound={p.escapes} more /><Rate word="falseCalls" of="calledNg" bound={p.false_calls} /></div>
      {p.pareto.length ? <div><h3>{t("pareto")}</h3>
        <ol class="bars">{p.pareto.map(([label, n]) => <li key={label}><span class="short">{word(label)}</span><i style={{ width: `${(100 * n) / most}%` }} /><span class="n">{number(n)}</span></li>)}</ol></div> : null}
      {p.hours.length ? <div><h3>{t("ngHours")} · {t("sigma")}</h3><Hours hours={p.hours} /></div> : null}
    </section>
  );
}

function Rate({ word, of, bound: b, more = false }: { word: Word; of: Word; bound: Bound; more?: boolean }) {
  return (
    <p><strong>{t(word)}</strong>: {b.of ? (
      <>{number(b.found)} {t("outOf")} {number(b.of)} {t(of)}: <b>{t("below")} {share(b.below, 3)}</b> {t("at95")}{more && b.more ? <small class="quiet"> · {number(b.more)} {t("moreParts")}</small> : null}</>
    ) : <span class="quiet">{t("noneAudited")}</span>}</p>
  );
}

/** A p chart: the share of NG parts of each hour, what chance may make of so many parts, and what is beyond. */
function Hours({ hours }: { hours: Proven["hours"] }) {
  const first = hours[0][0], wide = WIDE / 24;
  const top = 1.05 * Math.max(0.02, ...hours.map(([, ng, of, most]) => Math.max(ng, of < FEWEST ? 0 : most) / of));
  const x = (at: number) => ((at - first) / 3_600_000) * wide, y = (s: number) => HIGH - (HIGH * s) / top;
  return (
    <svg class="hours" viewBox={`0 0 ${WIDE} ${HIGH}`} role="img" aria-label={t("ngHours")}>
      {hours.map(([at, ng, of, most]) => {
        const odd = of >= FEWEST && ng > most;
        return <rect key={at} class={odd ? "odd" : ""} x={x(at) + 1} width={wide - 2} y={Math.min(HIGH - 1, y(ng / of))} height={Math.max(1, HIGH - y(ng / of))}><title>{`${clock(at)}: ${ng} / ${of} = ${share(ng / of, 1)}`}</title></rect>;
      })}
      <path d={hours.filter(([, , of]) => of >= FEWEST).map(([at, , of, most]) => `M${x(at)} ${y(most / of)}h${wide}`).join("")} />
    </svg>
  );
}
