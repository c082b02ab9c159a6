// A line chart (uPlot) in the page's colours, with a legend that shows the values under the cursor.

import { useEffect, useMemo, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { type Columns, lastOf } from '../api/query.ts';
import { formatClock, formatTime } from '../lib/format.ts';

interface ChartProps {
  readonly title: string;
  readonly columns: Columns;
  readonly format: (value: number) => string;
  /** The stretch of time drawn, up to the newest point: also when the data begins later. */
  readonly seconds: number;
  /** Changes when the colours do. */
  readonly paint: number;
}

const HEIGHT = 160;
const AXIS_WIDTH = 62;
/** More lines than colours would repeat them: dashes tell the second round apart. */
const COLOURS = 8;

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function optionsOf(
  columns: Columns,
  format: (value: number) => string,
  seconds: number,
  width: number,
): uPlot.Options {
  const axis = {
    stroke: colour('--text-muted'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { stroke: colour('--line'), width: 1, size: 4 },
    font: `11px ${colour('--font')}`,
  };
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    cursor: { sync: { key: 'heptad' }, points: { size: 6 }, drag: { x: false, y: false } },
    legend: { live: true },
    scales: {
      x: { range: (_chart, _first, last) => [last - seconds, last] },
      y: { range: (_chart, _low, high) => [0, high > 0 ? high * 1.1 : 1] },
    },
    axes: [
      {
        ...axis,
        space: 60,
        size: 32,
        values: (_chart, ticks) => ticks.map((tick) => formatClock(tick * 1000)),
      },
      { ...axis, size: AXIS_WIDTH, values: (_chart, ticks) => ticks.map((tick) => format(tick)) },
    ],
    series: [
      {
        value: (_chart, time: number | null) => (time === null ? '' : formatTime(time * 1000)),
      },
      ...columns.series.map((series, index): uPlot.Series => {
        const stroke = colour(`--series-${(index % COLOURS) + 1}`);
        const last = lastOf(series);
        return {
          label: series.label,
          stroke,
          width: 1.75,
          points: { show: false },
          ...(index >= COLOURS ? { dash: [6, 4] } : {}),
          // Without a cursor the legend shows the newest value.
          value: (_chart, value: number | null, _series, place) =>
            place === null || place === undefined
              ? last === undefined
                ? '–'
                : format(last)
              : value === null
                ? '–'
                : format(value),
        };
      }),
    ],
  };
}

/** A chart, or a sentence when there is nothing to draw. */
export function Chart({ title, columns, format, seconds, paint }: ChartProps) {
  const holder = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(undefined);
  const names = columns.series.map((series) => series.label).join('\n');
  const data = useMemo<uPlot.AlignedData>(
    () => [[...columns.times], ...columns.series.map((series) => [...series.values])],
    [columns],
  );
  const newest = useRef({ columns, data, format });
  newest.current = { columns, data, format };

  // Made anew when its lines or colours change; new points only move into it.
  useEffect(() => {
    const element = holder.current;
    if (element === null || names === '') return;
    const { columns: shown, data: points, format: text } = newest.current;
    const made = new uPlot(optionsOf(shown, text, seconds, element.clientWidth), points, element);
    chart.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
      chart.current = undefined;
    };
  }, [names, seconds, paint]);

  useEffect(() => chart.current?.setData(data), [data]);

  const summary = columns.series
    .map(
      (series) =>
        `${series.label} ${lastOf(series) === undefined ? 'no value' : format(lastOf(series) ?? 0)}`,
    )
    .join(', ');
  return (
    <figure className="chart">
      <figcaption>{title}</figcaption>
      {columns.series.length === 0 ? (
        <p className="empty">No requests in this time.</p>
      ) : (
        <div ref={holder} role="img" aria-label={`${title}, now: ${summary}`} />
      )}
    </figure>
  );
}
