/** The few building blocks of all pages: state marks, cards, tabs, notices. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useReducer, useState } from "preact/hooks";
import type { Live } from "./live";

export type Tone = "good" | "warn" | "bad" | "wait" | "none";

const SHAPES: Record<Tone, JSX.Element> = {
  good: <path d="M10 1.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Zm4.3 6.3-5.2 5.6a1 1 0 0 1-1.4 0l-2.2-2.2 1.4-1.4 1.4 1.4 4.5-4.8Z" />,
  warn: <path d="M9.1 2.2a1 1 0 0 1 1.8 0l8 14.3a1 1 0 0 1-.9 1.5H2a1 1 0 0 1-.9-1.5ZM9 7v5.5h2V7Zm0 7v2h2v-2Z" />,
  bad: <path d="M6.5 1.5h7l5 5v7l-5 5h-7l-5-5v-7Zm.4 4L5.5 6.9 8.6 10l-3.1 3.1 1.4 1.4 3.1-3.1 3.1 3.1 1.4-1.4-3.1-3.1 3.1-3.1-1.4-1.4L10 8.6Z" />,
  wait: <path d="M10 1.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Zm1 8 3.2 3.2-1.4 1.4L9 10.3V5h2Z" />,
  none: <path d="M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15Zm0 2a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11Z" />,
};

/** A state as shape, word and colour: any one of them suffices. */
export function Mark({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <span class={`mark ${tone}`}>
      <Shape tone={tone} />
      <span>{children}</span>
    </span>
  );
}

export function Shape({ tone }: { tone: Tone }) {
  return (
    <svg class={`shape ${tone}`} viewBox="0 0 20 20" aria-hidden="true">
      {SHAPES[tone]}
    </svg>
  );
}

export function Card(props: { tone?: Tone; label?: string; class?: string; href?: string; children: ComponentChildren }) {
  if (props.href) return <a class={`card ${props.class ?? ""}`} href={props.href}>{props.children}</a>;
  return (
    <article class={`card ${props.tone ?? ""} ${props.class ?? ""}`} aria-label={props.label}>
      {props.children}
    </article>
  );
}

export function Section(props: { title: string; note?: ComponentChildren; id?: string; children: ComponentChildren }) {
  return (
    <section class="section" id={props.id}>
      <header>
        <h2>{props.title}</h2>
        {props.note && <p class="soft">{props.note}</p>}
      </header>
      {props.children}
    </section>
  );
}

/** Pairs of name and value. */
export function Facts({ rows }: { rows: (readonly [string, ComponentChildren] | false)[] }) {
  return (
    <dl class="facts">
      {rows.map((row) =>
        row === false ? null : (
          <div key={row[0]}>
            <dt>{row[0]}</dt>
            <dd>{row[1]}</dd>
          </div>
        ),
      )}
    </dl>
  );
}

export function Empty({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      <p>{children}</p>
    </div>
  );
}

/** Draws again whenever something came in, and once a second for the ages. */
export function useLive(live: Live): Live {
  const [, again] = useReducer((count: number, _: undefined) => count + 1, 0);
  useEffect(() => {
    const stop = live.subscribe(() => again(undefined));
    const timer = window.setInterval(() => again(undefined), 1000);
    return () => {
      stop();
      clearInterval(timer);
    };
  }, [live]);
  return live;
}

/** The path shown. Links to other pages are followed without loading anew. */
export function usePath(paths: readonly string[]): string {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const back = () => setPath(location.pathname);
    const follow = (event: MouseEvent) => {
      const link = event.target instanceof Element ? event.target.closest("a") : null;
      if (!link || link.origin !== location.origin || link.hash || !paths.includes(link.pathname)) return;
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      history.pushState(null, "", link.href);
      setPath(location.pathname);
      window.scrollTo(0, 0);
    };
    window.addEventListener("popstate", back);
    document.addEventListener("click", follow);
    return () => {
      window.removeEventListener("popstate", back);
      document.removeEventListener("click", follow);
    };
  }, [paths]);
  return path;
}
