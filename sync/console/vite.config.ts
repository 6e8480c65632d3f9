import { defineConfig } from "vite";

export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: { outDir: "../control_plane/web", emptyOutDir: true, target: "es2022" },
});
