import { defineConfig } from "vite";

// One set of pages per program: `--mode agent` and `--mode central`, each built into the Python package.
export default defineConfig(({ mode }) => ({
  root: `src/${mode}`,
  base: "/",
  build: {
    outDir: `../../../edgeflow/web/pages/${mode}`,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8080", ws: true } } },
}));
