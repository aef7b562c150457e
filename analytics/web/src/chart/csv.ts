/** A table as CSV (RFC 4180), for a spreadsheet, which must take no cell for a formula. */

export type Cell = string | number | null;

export function csv(titles: readonly string[], rows: readonly (readonly Cell[])[]): string {
  return [titles, ...rows].map((cells) => `${cells.map(text).join(",")}\r\n`).join("");
}

function text(cell: Cell): string {
  if (cell === null) return "";
  const plain = typeof cell === "string" && /^[=@+\t\r-]/.test(cell) ? `'${cell}` : String(cell);
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** Offers the text as a file. */
export function download(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}
