/** A table of rows that have a key each, with CSV of what it shows. */
import type { ComponentChildren, VNode } from "preact";
import { type Cell, csv, download } from "../chart/csv";

export interface Column<T> {
  title: string;
  cell: (row: T) => ComponentChildren;
  /** The value in CSV. */
  value: (row: T) => Cell;
  number?: boolean;
  wide?: boolean;
}

interface Props<T> {
  name: string;
  title: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  actions?: ComponentChildren;
  footer?: ComponentChildren;
  note?: ComponentChildren;
}

export function Table<T>({ name, title, columns, rows, rowKey, actions, footer, note }: Props<T>): VNode {
  const save = () =>
    download(
      `hookline-${name}.csv`,
      csv(
        columns.map((column) => column.title),
        rows.map((row) => columns.map((column) => column.value(row))),
      ),
    );
  return (
    <div class="card" data-table={name}>
      <div class="caption">
        <h2>{title}</h2>
        <div class="actions">
          {actions}
          <button type="button" class="quiet" aria-label={`CSV of ${title}`} onClick={save}>
            CSV
          </button>
        </div>
      </div>
      {note}
      <div class="scroll" tabIndex={0} role="region" aria-label={title}>
        <table>
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column.title} scope="col" class={column.number ? "number" : ""}>
                  {column.title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={rowKey(row)} data-row={rowKey(row)}>
                {columns.map((column) => (
                  <td key={column.title} class={`${column.number ? "number" : ""}${column.wide ? " wide" : ""}`}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {footer}
    </div>
  );
}
