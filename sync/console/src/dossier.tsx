// What a part of the tree has and how it runs, to read and to print.
import { useState } from "preact/hooks";
import { get } from "./api";
import { Beside, placeName, usePlaces } from "./people";
import { number, useFresh } from "./show";
import { placesOf } from "./signin";
import { inDossier, known, t } from "./words";

interface Told { at: string; since: string; until: string; version: string; tables: { name: string; heads: string[]; rows: (string | number)[][] }[] }
const DAYS = [7, 30, 90, 365];

export function Dossier() {
  const tops = placesOf("watch"), [at, setAt] = useState(tops.includes("") ? "" : tops[0] ?? ""), [days, setDays] = useState(90);
  const shown = usePlaces();
  const [told] = useFresh<Told>(() => get(`/api/dossier?${new URLSearchParams({ at, days: String(days) })}`), () => false, [at, days]);
  return (
    <>
      <header class="bar unprinted"><h1>{t("dossier")}</h1><Beside here="#/dossier" /></header>
      <div class="bar filters unprinted">
        <label class="choice">{t("place")} <select value={at} onChange={(e) => setAt(e.currentTarget.value)}>{shown.map((place) => <option key={place} value={place}>{placeName(place)}</option>)}</select></label>
        <label class="choice">{t("lastDays")} <select value={days} onChange={(e) => setDays(Number(e.currentTarget.value))}>{DAYS.map((n) => <option key={n} value={n}>{n} {t("days")}</option>)}</select></label>
        <span class="grow" /><button disabled={!told} onClick={() => print()}>{t("printIt")}</button>
      </div>
      {told ? (
        <article class="panel paper">
          <h1>{t("dossierOf")} {placeName(told.at)}</h1>
          <p>{told.since} – {told.until} (UTC)</p><p class="quiet">{t("version")} <code>{told.version}</code></p>
          {told.tables.map((table) => (
            <section key={table.name} aria-label={inDossier(table.name)}>
              <h2>{inDossier(table.name)}</h2>
              {table.rows.length ? (
                <div class="scrolls"><table><thead><tr>{table.heads.map((head, k) => <th key={k} class={typeof table.rows[0][k] === "number" ? "n" : ""}>{inDossier(head)}</th>)}</tr></thead>
                  <tbody>{table.rows.map((row, r) => <tr key={r}>{row.map((cell, k) => <td key={k} class={typeof cell === "number" ? "n" : ""}>{typeof cell === "number" ? number(cell) : table.heads[k] === "state" ? known(cell) : ["never", "revoked"].includes(cell) ? inDossier(cell) : cell}</td>)}</tr>)}</tbody></table></div>
              ) : <p class="quiet">{t("noneThere")}</p>}
            </section>
          ))}
        </article>
      ) : <p class="quiet">…</p>}
    </>
  );
}
