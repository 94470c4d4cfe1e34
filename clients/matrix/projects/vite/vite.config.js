export default {
  build: { modulePreload: false, rolldownOptions: { input: "main.js", output: { entryFileNames: "main.js" } } },
};
